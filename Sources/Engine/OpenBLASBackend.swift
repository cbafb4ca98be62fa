internal import COpenBLAS

/// What multiplies matrices.
package enum Backend: String, Sendable, CaseIterable {
  /// Own kernels; the same bits on every instruction set and in every batch.
  case native = "default"
  /// Float reference: dequantised weights, OpenBLAS products. Its order of additions depends on
  /// the batch, so it is no backend for exact sessions.
  case openBLAS = "openblas"

  /// What the KV cache holds unless told otherwise: the float reference rounds nothing.
  package var defaultCacheTypes: CacheTypes {
    switch self {
    case .native: CacheTypes()
    case .openBLAS: CacheTypes(keys: .f32, values: .f32)
    }
  }
}

/// A weight matrix as floats.
/// - Shape: `[rows, cols]`, row-major.
struct DenseMatrix: Sendable {
  private let values: MemoryView<Float>
  let rows: Int
  let cols: Int

  /// Takes row-major matrices of the model file, stacked; all of one format.
  init(
    parts: [UnsafeRawBufferPointer], format: WeightFormat, cols: Int, memory: inout OwnedMemory
  ) throws(EngineError) {
    let rowBytes = format.rowBytes(cols)
    precondition(rowBytes > 0, "\(cols) columns in format \(format)")
    self.cols = cols
    rows = unsafe parts.reduce(0) { $0 + $1.count / rowBytes }
    values = try memory.room(Float.self, rows * cols, for: "dequantised weights")
    var row = 0
    for index in unsafe parts.indices {
      let part = unsafe parts[index]
      for source in 0..<part.count / rowBytes {
        let bytes = unsafe UnsafeRawBufferPointer(
          rebasing: part[source * rowBytes..<(source + 1) * rowBytes])
        unsafe format.dequantize(bytes, into: values.range(row * cols, cols))
        row += 1
      }
    }
    // BLAS threads would compete with ours and with other processes.
    openblas_set_num_threads(1)
  }

  /// out[column * outStride + row] = self[row, :] . x[column, :].
  func multiply(
    _ x: MemoryView<Float>, columnCount: Int, out: MemoryView<Float>, outStride: Int
  ) {
    precondition(x.count >= columnCount * cols && outStride >= rows)
    precondition(out.count >= (columnCount - 1) * outStride + rows)
    unsafe cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, Int32(columnCount), Int32(rows), Int32(cols), 1,
      x.base, Int32(cols), values.base, Int32(cols), 0, out.base, Int32(outStride))
  }
}
