internal import GGUF

/// The start of a file of rewritten matrices; numbers are little-endian.
///
/// | field | bytes |
/// |---|---|
/// | magic, "SLPPANEL" | 8 |
/// | version of the layout of panels | 4 |
/// | number of matrices | 4 |
/// | size of the file | 8 |
/// | BLAKE2b of the whole model file | 32 |
/// | for each matrix: format, zero, rows, columns, offset, checksum of the panels | 4, 4, 8, 8, 8, 8 |
/// | BLAKE2b of all before | 32 |
///
/// The panels of each matrix start at a multiple of ``alignment``, in the order in which loading asks
/// for them.
struct PackedFileHeader: Equatable {
  static let magic = Array("SLPPANEL".utf8)
  /// A page, so that a matrix is as well aligned as in memory of its own.
  static let alignment = 4096
  private static let hashSize = 32
  private static let fixedSize = 8 + 4 + 4 + 8 + hashSize
  private static let matrixSize = 4 + 4 + 8 + 8 + 8 + 8
  /// More than any model has.
  private static let matrixLimit = 1 << 20

  struct Matrix: Equatable {
    let format: WeightFormat
    let rows: Int
    let cols: Int
    /// From the start of the file.
    let offset: Int
    let checksum: UInt64

    var words: String { "\(rows) x \(cols) in \(format.rawValue)" }
  }

  let modelHash: [UInt8]
  var matrices: [Matrix] = []
  /// Of the whole file, in bytes.
  var sizeBytes: Int

  /// Of no matrices yet, `sizeBytes` large.
  init(modelHash: [UInt8], sizeBytes: Int) {
    precondition(modelHash.count == Self.hashSize, "a hash of \(modelHash.count) bytes")
    self.modelHash = modelHash
    self.sizeBytes = sizeBytes
  }

  /// Bytes of a header of so many matrices.
  static func byteCount(matrixCount: Int) -> Int {
    fixedSize + matrixCount * matrixSize + hashSize
  }

  var encoded: [UInt8] {
    var bytes = Self.magic
    bytes.append(number: PackedMatrix.layoutVersion)
    bytes.append(number: UInt32(matrices.count))
    bytes.append(number: UInt64(sizeBytes))
    bytes += modelHash
    for matrix in matrices {
      bytes.append(number: matrix.format.number)
      bytes.append(number: UInt32(0))
      bytes.append(number: UInt64(matrix.rows))
      bytes.append(number: UInt64(matrix.cols))
      bytes.append(number: UInt64(matrix.offset))
      bytes.append(number: matrix.checksum)
    }
    return bytes + bytes.contentHash
  }

  /// Reads and checks the header of a mapped file, but not its panels.
  init(of file: MappedFile, modelHash: [UInt8]) throws(WeightCacheError) {
    let path = file.path
    self.init(modelHash: modelHash, sizeBytes: file.sizeBytes)
    let smallest = Self.byteCount(matrixCount: 0)
    guard file.sizeBytes >= smallest else {
      throw .wrongSize(path: path, sizeBytes: file.sizeBytes, expected: smallest)
    }
    var reader = NumberReader(bytes: file.bytes(0..<Self.fixedSize))
    let magic = reader.bytes(Self.magic.count)
    guard magic == Self.magic else { throw .wrongMagic(path: path, found: magic) }
    let version = reader.number(UInt32.self)
    guard version == PackedMatrix.layoutVersion else {
      throw .otherLayout(path: path, found: version, expected: PackedMatrix.layoutVersion)
    }
    let count = Int(reader.number(UInt32.self))
    let size = Int(clamping: reader.number(UInt64.self))
    guard size == file.sizeBytes else {
      throw .wrongSize(path: path, sizeBytes: file.sizeBytes, expected: size)
    }
    guard reader.bytes(Self.hashSize) == modelHash else { throw .otherModel(path: path) }
    guard count <= Self.matrixLimit, Self.byteCount(matrixCount: count) <= size else {
      throw .damagedTable(path: path)
    }
    let end = Self.byteCount(matrixCount: count)
    let bytes = file.bytes(0..<end)
    guard bytes.dropLast(Self.hashSize).contentHash == Array(bytes.suffix(Self.hashSize)) else {
      throw .damagedTable(path: path)
    }
    reader = NumberReader(bytes: bytes, start: Self.fixedSize)
    var free = end
    for index in 0..<count {
      let matrix = try Self.matrix(&reader, index: index, path: path, after: free, until: size)
      free = matrix.end
      matrices.append(matrix.value)
    }
  }

  /// The next matrix of a table, and where its panels end.
  private static func matrix(
    _ reader: inout NumberReader, index: Int, path: String, after start: Int, until end: Int
  ) throws(WeightCacheError) -> (value: Matrix, end: Int) {
    let formatNumber = reader.number(UInt32.self)
    let zero = reader.number(UInt32.self)
    let rows = Int(clamping: reader.number(UInt64.self))
    let cols = Int(clamping: reader.number(UInt64.self))
    let offset = Int(clamping: reader.number(UInt64.self))
    let checksum = reader.number(UInt64.self)
    func impossible(_ problem: String) -> WeightCacheError {
      .impossibleMatrix(path: path, index: index, problem: problem)
    }
    let format = WeightFormat.allCases.first { $0.number == formatNumber }
    guard let format, zero == 0 else { throw impossible("has the unknown format \(formatNumber)") }
    guard let size = format.packedBytes(rows: rows, cols: cols) else {
      throw impossible("has \(rows) rows of \(cols) weights in \(format.rawValue)")
    }
    guard offset >= start, offset <= end, size <= end - offset, offset.isMultiple(of: alignment)
    else {
      throw impossible(
        "has \(size) bytes at \(offset); expected a multiple of \(alignment) from \(start) on, "
          + "and an end before \(end)")
    }
    return (
      Matrix(format: format, rows: rows, cols: cols, offset: offset, checksum: checksum),
      offset + size
    )
  }
}

/// Takes little-endian numbers from bytes whose number is known.
struct NumberReader {
  private let source: [UInt8]
  private var next: Int

  init(bytes: [UInt8], start: Int = 0) {
    source = bytes
    next = start
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    precondition(count <= source.count - next, "\(count) bytes at \(next) of \(source.count)")
    defer { next += count }
    return Array(source[next..<next + count])
  }

  mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) -> Number {
    bytes(Number.bitWidth / 8).reversed().reduce(0) { $0 << 8 | Number($1) }
  }
}

extension [UInt8] {
  /// Appends a number, little-endian.
  mutating func append(number: some FixedWidthInteger & UnsignedInteger) {
    for shift in stride(from: 0, to: number.bitWidth, by: 8) {
      append(UInt8(truncatingIfNeeded: number >> shift))
    }
  }
}

extension Sequence<UInt8> {
  /// BLAKE2b with 32 bytes.
  var contentHash: [UInt8] {
    var hash = ContentHash()
    hash.update(Array(self))
    return hash.finish()
  }
}
