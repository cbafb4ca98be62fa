import CMeasure
package import Engine

/// Matrix products of one thread beside what the machine allows at best.
package struct KernelBenchmark {
  /// The limits of one thread of this machine.
  package struct Limits: Sendable, Encodable {
    /// Bytes that are read, per second.
    package let readBandwidth: Double
    /// Products of int8 that are added up, per second.
    package let integerProducts: Double
    /// The same in tile registers, which products of Q8_0 use; 0 where there are none.
    package let tileProducts: Double
    /// Products of floats that are added up, per second.
    package let floatProducts: Double
    /// Products of BF16 in pairs; 0 where there is no instruction for them.
    package let pairProducts: Double
  }

  /// One product of a large matrix, and of a small one that stays in the cache.
  package struct Figure: Sendable, Encodable {
    package let format: String
    package let columns: Int
    package let bytesPerWeight: Double
    /// Nanoseconds for 1,000 weights: measured, from memory and from the cache.
    package let time: Double
    package let cachedTime: Double
    /// The same if only reading the weights took time, and if only the products did.
    package let memoryFloor: Double
    package let computeFloor: Double
    /// The larger floor by the measured time.
    package var reached: Double { max(memoryFloor, computeFloor) / time }
  }

  package let limits: Limits
  private let kernels: Kernels
  private let roundCount: Int

  /// Measures the limits first.
  /// - Throws: ``ReadBandwidth/Failure``, or what a pool of one thread throws.
  package init(kernels: Kernels, roundCount: Int) throws {
    self.kernels = kernels
    self.roundCount = roundCount
    let hasTiles = kernels.name == "amx"
    limits = Limits(
      readBandwidth: try ReadBandwidth(threads: try WorkerThreads(count: 1)).measure(),
      integerProducts: Self.products(hasTiles ? "avx512" : kernels.name, cmeasure_integers),
      tileProducts: hasTiles ? Self.products(kernels.name, cmeasure_integers) : 0,
      floatProducts: Self.products(kernels.name, cmeasure_floats),
      pairProducts: Self.products(kernels.name, cmeasure_pairs))
  }

  /// Weights of about `sizeBytes`, with each number of columns in turn; medians of all rounds.
  /// - Throws: ``EngineError``.
  package func run(
    _ format: WeightFormat, columns: [Int], cols: Int, sizeBytes: Int
  ) throws -> [Figure] {
    let large = try KernelProbe(
      format: format, cols: cols, sizeBytes: sizeBytes, kernels: kernels)
    let small = try KernelProbe(format: format, cols: cols, sizeBytes: 1, kernels: kernels)
    let products = products(of: format)
    return columns.filter { $0 <= large.columnLimit }.map { count in
      let bytesPerWeight = Double(large.sizeBytes) / Double(large.weightCount)
      return Figure(
        format: format.rawValue, columns: count, bytesPerWeight: bytesPerWeight,
        time: time(large, columns: count, repeats: 1),
        cachedTime: time(small, columns: count, repeats: 16),
        memoryFloor: 1e12 * bytesPerWeight / limits.readBandwidth,
        computeFloor: products > 0 ? 1e12 * Double(count) / products : 0)
    }
  }

  /// Products per second that the kernels of a format may reach.
  private func products(of format: WeightFormat) -> Double {
    switch format {
    case .f32, .f16: limits.floatProducts
    case .bf16: limits.pairProducts > 0 ? limits.pairProducts : limits.floatProducts
    case .q8_0: limits.tileProducts > 0 ? limits.tileProducts : limits.integerProducts
    default: limits.integerProducts
    }
  }

  /// Median nanoseconds for 1,000 weights.
  private func time(_ probe: KernelProbe, columns: Int, repeats: Int) -> Double {
    let product = probe.product(columnCount: columns)
    product()
    let times = (0..<roundCount).map { _ in
      seconds { for _ in 0..<repeats { product() } } / Double(repeats)
    }
    return 1e12 * median(times) / Double(probe.weightCount)
  }

  private static func products(_ isa: String, _ kind: cmeasure_kind) -> Double {
    var best = 0.0
    for _ in 0..<5 {
      var count: UInt64 = 0
      let time = seconds { count = unsafe cmeasure_products(isa, kind, 2_000_000) }
      best = max(best, Double(count) / time)
    }
    return best
  }
}
