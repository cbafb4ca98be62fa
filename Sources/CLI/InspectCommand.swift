import ArgumentParser
import GGUF

/// `slipstream inspect`.
struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show what is in a model file.")

  @Argument(help: "Model file (GGUF).")
  var file: String

  @Flag(help: "Print one JSON object.")
  var json = false

  func run() throws {
    let contents = try ModelLoading.file(file)
    let report = InspectReport(file: contents, path: file)
    if json {
      try printJSON(report)
    } else {
      FileHandleStream.standardOutput.write(report.table)
    }
  }
}

/// What `slipstream inspect` shows.
struct InspectReport: Encodable {
  struct Tensor: Encodable {
    let name: String
    let type: String
    let shape: [Int]
    let offset: Int
    let bytes: Int
  }
  let path: String
  let version: UInt32
  let alignment: Int
  let sizeBytes: Int
  let parameterCount: Int
  let fingerprint: String
  let metadata: [String: MetadataValue]
  let tensors: [Tensor]
  private let order: [String]

  private enum CodingKeys: CodingKey {
    case path, version, alignment, sizeBytes, parameterCount, fingerprint, metadata, tensors
  }

  init(file: GGUFFile, path: String) {
    self.path = path
    version = file.version
    alignment = file.alignment
    sizeBytes = file.sizeBytes
    parameterCount = file.tensors.reduce(0) { $0 + $1.elementCount }
    fingerprint = file.fingerprint.map { hexadecimal($0) }.joined()
    order = file.keys
    metadata = Dictionary(
      uniqueKeysWithValues: file.keys.compactMap { key in
        file[key].map { (key, MetadataValue(value: $0)) }
      })
    tensors = file.tensors.map {
      Tensor(
        name: $0.name, type: $0.type.name, shape: $0.dimensions, offset: $0.byteOffset,
        bytes: $0.byteCount)
    }
  }

  var table: String {
    var lines = [
      "\(path)",
      "GGUF v\(version), \(sizeBytes) bytes, \(tensors.count) tensors, "
        + "\(parameterCount) parameters, alignment \(alignment)",
      "fingerprint \(fingerprint)", "", "metadata",
    ]
    let keyWidth = order.map(\.count).max() ?? 0
    for key in order {
      lines.append("  \(padded(key, keyWidth))  \(metadata[key]?.summary ?? "")")
    }
    lines += ["", "tensors"]
    let nameWidth = tensors.map(\.name.count).max() ?? 0
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: " x ")
      lines.append(
        "  \(padded(tensor.name, nameWidth))  \(padded(tensor.type, 6))  \(padded(shape, 16))  "
          + "\(tensor.bytes) bytes")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

/// A metadata value as JSON; long arrays are cut, their count is kept.
struct MetadataValue: Encodable {
  let value: GGUFValue
  private static let shownCount = 8

  var summary: String {
    switch value {
    case .array(let array):
      let shown = elements(array).prefix(Self.shownCount).map(\.summary)
      let more = array.count > Self.shownCount ? ", … (\(array.count) in all)" : ""
      return "[\(shown.joined(separator: ", "))\(more)]"
    case .string(let text):
      let line = text.debugDescription
      return line.count > 100 ? "\(line.prefix(100))…" : line
    case .bool(let flag): return "\(flag)"
    case .float32(let number): return "\(number)"
    case .float64(let number): return "\(number)"
    default: return integer.map { "\($0)" } ?? ""
    }
  }

  private var integer: Int? {
    switch value {
    case .uint8(let number): Int(number)
    case .int8(let number): Int(number)
    case .uint16(let number): Int(number)
    case .int16(let number): Int(number)
    case .uint32(let number): Int(number)
    case .int32(let number): Int(number)
    case .uint64(let number): Int(exactly: number)
    case .int64(let number): Int(number)
    case .float32, .float64, .bool, .string, .array: nil
    }
  }

  private func elements(_ array: GGUFArray) -> [MetadataValue] {
    switch array {
    case .uint8(let items): items.map { MetadataValue(value: .uint8($0)) }
    case .int8(let items): items.map { MetadataValue(value: .int8($0)) }
    case .uint16(let items): items.map { MetadataValue(value: .uint16($0)) }
    case .int16(let items): items.map { MetadataValue(value: .int16($0)) }
    case .uint32(let items): items.map { MetadataValue(value: .uint32($0)) }
    case .int32(let items): items.map { MetadataValue(value: .int32($0)) }
    case .uint64(let items): items.map { MetadataValue(value: .uint64($0)) }
    case .int64(let items): items.map { MetadataValue(value: .int64($0)) }
    case .float32(let items): items.map { MetadataValue(value: .float32($0)) }
    case .float64(let items): items.map { MetadataValue(value: .float64($0)) }
    case .bool(let items): items.map { MetadataValue(value: .bool($0)) }
    case .string(let items): items.map { MetadataValue(value: .string($0)) }
    case .array(let items): items.map { MetadataValue(value: .array($0)) }
    }
  }

  func encode(to encoder: any Encoder) throws {
    switch value {
    case .array(let array):
      var container = encoder.unkeyedContainer()
      for element in elements(array) { try container.encode(element) }
    case .string(let text):
      var container = encoder.singleValueContainer()
      try container.encode(text)
    case .bool(let flag):
      var container = encoder.singleValueContainer()
      try container.encode(flag)
    case .float32(let number):
      var container = encoder.singleValueContainer()
      // JSON has no NaN or infinity.
      if number.isFinite { try container.encode(number) } else { try container.encodeNil() }
    case .float64(let number):
      var container = encoder.singleValueContainer()
      if number.isFinite { try container.encode(number) } else { try container.encodeNil() }
    case .uint64(let number):
      var container = encoder.singleValueContainer()
      try container.encode(number)
    default:
      var container = encoder.singleValueContainer()
      try container.encode(integer)
    }
  }
}

/// Two hexadecimal digits.
func hexadecimal(_ byte: UInt8) -> String {
  (byte < 16 ? "0" : "") + String(byte, radix: 16)
}

/// `text` with spaces up to `width`.
func padded(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(0, width - text.count))
}
