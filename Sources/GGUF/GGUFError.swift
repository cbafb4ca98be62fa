/// What is wrong with a model file, or with a question asked of it. Offsets are in bytes from the
/// start of the file.
package enum GGUFError: Error, Equatable, Sendable {
  /// The file cannot be opened, read or mapped.
  case cannotRead(path: String, errno: Int32)
  /// The file cannot be created or written.
  case cannotWrite(path: String, errno: Int32)
  /// A file that is not to be replaced.
  case alreadyExists(path: String)
  /// The file system is full, or would be. In bytes.
  case noSpace(path: String, needed: Int, available: Int)
  /// A directory, a pipe or a device.
  case notARegularFile(path: String)

  /// The file ends inside something of a fixed size.
  case truncated(reading: String, offset: Int, needed: Int, available: Int)
  /// The first four bytes are not `GGUF`.
  case wrongMagic(found: [UInt8])
  /// The file was written for big-endian machines.
  case bigEndian
  /// A version other than 2 or 3.
  case unsupportedVersion(UInt32)
  /// A count or length for which the rest of the file has no room.
  case oversized(reading: String, value: UInt64, limit: Int, offset: Int)
  /// Text that is not valid UTF-8.
  case invalidText(reading: String, offset: Int)
  /// A boolean that is neither 0 nor 1.
  case invalidBool(key: String, value: UInt8, offset: Int)
  /// A metadata type with no meaning.
  case unknownValueType(key: String, type: UInt32, offset: Int)
  /// Arrays of arrays beyond the limit.
  case nestingTooDeep(key: String, limit: Int, offset: Int)
  /// A metadata key that occurs twice.
  case duplicateKey(String, offset: Int)
  /// `general.alignment` is not a power of two.
  case invalidAlignment(Int)

  /// Two tensors of the same name.
  case duplicateTensor(String, offset: Int)
  /// A shape that no tensor can have.
  case absurdShape(tensor: String, problem: ShapeProblem, offset: Int)
  /// A tensor type this reader does not know.
  case unknownTensorType(tensor: String, type: UInt32, offset: Int)
  /// A tensor whose data does not start at a multiple of the alignment.
  case misalignedTensor(tensor: String, relativeOffset: UInt64, alignment: Int)
  /// A tensor that reaches beyond the end of the file.
  case tensorPastEnd(tensor: String, relativeOffset: UInt64, byteCount: Int, sizeBytes: Int)
  /// Two tensors that share bytes.
  case overlappingTensors(first: String, second: String)

  /// The file has no such metadata.
  case missingKey(key: String, expected: String)
  /// The metadata has another type, or a number outside of the range asked for.
  case wrongType(key: String, expected: String, found: String)
}

/// Why a shape is impossible.
package enum ShapeProblem: Equatable, Sendable {
  /// Not one to four dimensions.
  case dimensionCount(UInt32)
  /// A dimension of size 0, by index.
  case emptyDimension(Int)
  /// More bytes than can be addressed.
  case overflow
  /// A row that does not consist of whole blocks.
  case partialBlock(rowLength: Int, blockSize: Int)
}

extension GGUFError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .cannotRead, .cannotWrite, .alreadyExists, .noSpace, .notARegularFile: fileDescription
    case .missingKey, .wrongType: questionDescription
    case .duplicateTensor, .absurdShape, .unknownTensorType, .misalignedTensor, .tensorPastEnd,
      .overlappingTensors:
      tensorDescription
    default: headerDescription
    }
  }

  private var fileDescription: String {
    switch self {
    case .cannotRead(let path, let errno): "cannot read \(path): \(errorText(errno))"
    case .cannotWrite(let path, let errno): "cannot write \(path): \(errorText(errno))"
    case .alreadyExists(let path): "\(path) exists already; nothing was written"
    case .noSpace(let path, let needed, let available):
      "no space for \(path): \(needed) bytes needed, \(available) left on its file system"
    case .notARegularFile(let path): "\(path) is not a regular file; expected a GGUF model file"
    default: headerDescription
    }
  }

  private var headerDescription: String {
    switch self {
    case .truncated(let what, let offset, let needed, let available):
      """
      the file ends inside \(what) at offset \(offset): \(needed) bytes needed, \(available) left; \
      the download or copy may be incomplete
      """
    case .wrongMagic(let found):
      """
      not a GGUF file: it starts with \(hex(found)), a GGUF file starts with 47 47 55 46 ("GGUF")
      """
    case .bigEndian:
      "a big-endian GGUF file; only little-endian files are supported: convert it"
    case .unsupportedVersion(let version):
      "GGUF version \(version) at offset 4 is not supported; supported are 2 and 3"
    case .oversized(let what, let value, let limit, let offset):
      "\(what) at offset \(offset) is \(value), but the rest of the file has room for \(limit)"
    case .invalidText(let what, let offset):
      "\(what) at offset \(offset) is not valid UTF-8"
    case .invalidBool(let key, let value, let offset):
      "boolean of \(key) at offset \(offset) is \(value); it must be 0 or 1"
    case .unknownValueType(let key, let type, let offset):
      "value of \(key) at offset \(offset) has type \(type); known are 0 to 12"
    case .nestingTooDeep(let key, let limit, let offset):
      "arrays of \(key) are nested deeper than \(limit) at offset \(offset)"
    case .duplicateKey(let key, let offset):
      "key \(key) occurs a second time at offset \(offset); keys must be unique"
    case .invalidAlignment(let alignment):
      "general.alignment is \(alignment); it must be a power of two"
    default: String(reflecting: self)
    }
  }

  private var tensorDescription: String {
    switch self {
    case .duplicateTensor(let name, let offset):
      "tensor \(name) occurs a second time at offset \(offset); names must be unique"
    case .absurdShape(let tensor, let problem, let offset):
      "tensor \(tensor) at offset \(offset) \(problem)"
    case .unknownTensorType(let tensor, let type, let offset):
      "tensor \(tensor) at offset \(offset) has the unknown type \(type); known are "
        + GGMLType.allCases.map { "\($0.name) (\($0.rawValue))" }.joined(separator: ", ")
    case .misalignedTensor(let tensor, let relativeOffset, let alignment):
      "data of tensor \(tensor) start at \(relativeOffset), which is no multiple of \(alignment)"
    case .tensorPastEnd(let tensor, let relativeOffset, let byteCount, let sizeBytes):
      """
      tensor \(tensor) (\(byteCount) bytes at \(relativeOffset) of the data) reaches past the end \
      of the file of \(sizeBytes) bytes; the download or copy may be incomplete
      """
    case .overlappingTensors(let first, let second):
      "tensors \(first) and \(second) overlap; each needs bytes of its own"
    default: headerDescription
    }
  }

  private var questionDescription: String {
    switch self {
    case .missingKey(let key, let expected):
      "the file has no \(key); expected \(expected)"
    case .wrongType(let key, let expected, let found):
      "\(key) is \(found); expected \(expected)"
    default: headerDescription
    }
  }

  private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
  }
}

extension ShapeProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .dimensionCount(let count): "has \(count) dimensions; it must have 1 to 4"
    case .emptyDimension(let index): "has size 0 in dimension \(index); it must be at least 1"
    case .overflow: "has more elements than can be addressed"
    case .partialBlock(let rowLength, let blockSize):
      "has rows of \(rowLength) elements; its type needs a multiple of \(blockSize)"
    }
  }
}
