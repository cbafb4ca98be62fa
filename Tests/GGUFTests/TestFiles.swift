import Foundation
import GGUF
import Testing

/// The model that the tests need; a missing one fails the test that asks.
func openTestModel() throws -> GGUFFile {
  let environment = ProcessInfo.processInfo.environment
  let path =
    environment["SLIPSTREAM_MODEL"]
    ?? "\(NSHomeDirectory())/.cache/slipstream/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  try #require(
    FileManager.default.isReadableFile(atPath: path),
    "no model at \(path); download it or set SLIPSTREAM_MODEL")
  return try GGUFFile(path: path)
}

/// A file written field by field, so that fields can be wrong.
struct RawFile {
  var bytes = Array("GGUF".utf8)

  init(version: UInt32 = 3, tensorCount: UInt64 = 0, entryCount: UInt64 = 0) {
    add(version)
    add(tensorCount)
    add(entryCount)
  }

  mutating func add<Number: FixedWidthInteger>(_ number: Number) {
    for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
    }
  }

  mutating func add(_ text: String) {
    add(UInt64(text.utf8.count))
    bytes += Array(text.utf8)
  }

  /// A metadata entry up to its value.
  mutating func addKey(_ key: String, type: UInt32) {
    add(key)
    add(type)
  }

  mutating func addTensor(_ name: String, _ sizes: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) {
    add(name)
    add(UInt32(sizes.count))
    for size in sizes { add(size) }
    add(type)
    add(offset)
  }

  /// Pads the header as the default alignment asks, then adds `count` bytes of data.
  mutating func addData(_ count: Int) {
    while !bytes.count.isMultiple(of: 32) { bytes.append(0) }
    bytes += [UInt8](repeating: 7, count: count)
  }
}

/// What opening `bytes` throws.
func openingError(_ bytes: [UInt8]) -> GGUFError? {
  do {
    _ = try GGUFFile(bytes: bytes)
    return nil
  } catch { return error }
}

/// A small file with every type of value and three tensors.
func everythingWriter(version: UInt32 = 3, alignment: Int = 32) -> GGUFWriter {
  var writer = GGUFWriter(version: version, alignment: alignment)
  for (key, value) in everyValue { writer.add(key, value) }
  writer.add(tensor: "first", dimensions: [3, 2], type: .f32, bytes: Array(0..<24))
  writer.add(tensor: "second", dimensions: [32, 1, 2, 1], type: .q4_1, bytes: Array(0..<40))
  writer.add(tensor: "third", dimensions: [1], type: .i8, bytes: [255])
  return writer
}

let everyValue: [(String, GGUFValue)] = [
  ("uint8", .uint8(.max)), ("int8", .int8(.min)), ("uint16", .uint16(.max)),
  ("int16", .int16(.min)), ("uint32", .uint32(.max)), ("int32", .int32(.min)),
  ("float32", .float32(-1.5)), ("true", .bool(true)), ("false", .bool(false)),
  ("empty", .string("")), ("text", .string("naïve 🙂")), ("uint64", .uint64(.max)),
  ("int64", .int64(.min)), ("float64", .float64(.pi)),
  ("uint8s", .array(.uint8([0, 255]))), ("int8s", .array(.int8([-128, 127]))),
  ("uint16s", .array(.uint16([1, .max]))), ("int16s", .array(.int16([.min, 1]))),
  ("uint32s", .array(.uint32([1, .max]))), ("int32s", .array(.int32([.min, 1]))),
  ("float32s", .array(.float32([0.5, -0.25]))), ("bools", .array(.bool([true, false]))),
  ("strings", .array(.string(["", "a", "βγ"]))), ("uint64s", .array(.uint64([1, .max]))),
  ("int64s", .array(.int64([.min, 1]))), ("float64s", .array(.float64([.pi]))),
  ("none", .array(.string([]))),
  (
    "nested",
    .array(.array([.uint8([1]), .array([.array([.string(["deep"])]), .array([])]), .bool([])]))
  ),
]
