import Foundation
import GGUF
import Testing

/// Each thing that can be wrong with a file has its own error, which says where.
struct RejectionTests {
  @Test func filesThatAreNone() {
    let missing = "/nonexistent/model.gguf"
    #expect(throws: GGUFError.cannotRead(path: missing, errno: ENOENT)) {
      try GGUFFile(path: missing)
    }
    #expect(throws: GGUFError.notARegularFile(path: "/")) { try GGUFFile(path: "/") }
    #expect(throws: GGUFError.cannotWrite(path: missing, errno: ENOENT)) {
      try GGUFWriter().write(to: missing)
    }
  }

  @Test func anEmptyFileOnDiskIsTruncated() throws {
    let directory = FileManager.default.temporaryDirectory
    let path = directory.appendingPathComponent("\(UUID().uuidString).gguf").path
    defer { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers
    try Data().write(to: URL(fileURLWithPath: path))
    #expect(
      throws: GGUFError.truncated(
        reading: "the magic number", offset: 0, needed: 4, available: 0)
    ) { try GGUFFile(path: path) }
  }

  @Test func magicAndVersion() {
    #expect(openingError(Array("PK\u{3}\u{4}rest".utf8)) == .wrongMagic(found: [80, 75, 3, 4]))
    #expect(openingError(Array("FUGG".utf8)) == .bigEndian)
    #expect(openingError(RawFile(version: 0x0300_0000).bytes) == .bigEndian)
    for version: UInt32 in [0, 1, 4, .max] {
      #expect(openingError(RawFile(version: version).bytes) == .unsupportedVersion(version))
    }
  }

  @Test func countsBeyondTheFile() {
    #expect(
      openingError(RawFile(tensorCount: .max).bytes)
        == .oversized(reading: "the number of tensors", value: .max, limit: 0, offset: 8))
    #expect(
      openingError(RawFile(entryCount: 1 << 40).bytes)
        == .oversized(
          reading: "the number of metadata entries", value: 1 << 40, limit: 0, offset: 16))
  }

  @Test func lengthsBeyondTheFile() {
    var key = RawFile(entryCount: 1)
    key.add(UInt64.max)
    key.bytes += [UInt8](repeating: 97, count: 20)
    #expect(
      openingError(key.bytes)
        == .oversized(
          reading: "the length of a metadata key", value: .max, limit: 20, offset: 24))
    for type: UInt32 in 0...12 {
      var array = RawFile(entryCount: 1)
      array.addKey("key", type: 9)
      array.add(type)
      array.add(UInt64(1) << 61)
      array.bytes += [UInt8](repeating: 0, count: 24)
      let bytesMin = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8][Int(type)]
      #expect(
        openingError(array.bytes)
          == .oversized(
            reading: "the number of elements of key", value: 1 << 61, limit: 24 / bytesMin,
            offset: 43))
    }
  }

  @Test func theFileEndsInsideANumber() {
    var raw = RawFile(entryCount: 1)
    raw.addKey("twelve bytes", type: 12)
    raw.add(UInt32(0))
    #expect(
      openingError(raw.bytes)
        == .truncated(
          reading: "the value of twelve bytes", offset: 48, needed: 8, available: 4))
  }

  @Test func metadata() {
    var repeated = RawFile(entryCount: 2)
    for _ in 0..<2 {
      repeated.addKey("key", type: 0)
      repeated.add(UInt8(1))
    }
    #expect(openingError(repeated.bytes) == .duplicateKey("key", offset: 40))

    var unknown = RawFile(entryCount: 1)
    unknown.addKey("key", type: 13)
    #expect(openingError(unknown.bytes) == .unknownValueType(key: "key", type: 13, offset: 35))

    var flag = RawFile(entryCount: 1)
    flag.addKey("key", type: 7)
    flag.add(UInt8(2))
    #expect(openingError(flag.bytes) == .invalidBool(key: "key", value: 2, offset: 39))

    var flags = RawFile(entryCount: 1)
    flags.addKey("key", type: 9)
    flags.add(UInt32(7))
    flags.add(UInt64(3))
    flags.bytes += [0, 1, 255]
    #expect(openingError(flags.bytes) == .invalidBool(key: "key", value: 255, offset: 53))

    var text = RawFile(entryCount: 1)
    text.addKey("key", type: 8)
    text.add(UInt64(2))
    text.bytes += [0xC0, 0x80]
    #expect(
      openingError(text.bytes) == .invalidText(reading: "the value of key", offset: 47))
  }

  @Test func nestingHasALimit() throws {
    func nested(_ depth: Int) -> [UInt8] {
      var raw = RawFile(entryCount: 1)
      raw.addKey("key", type: 9)
      for _ in 1..<depth {
        raw.add(UInt32(9))
        raw.add(UInt64(1))
      }
      raw.add(UInt32(0))
      raw.add(UInt64(0))
      return raw.bytes
    }
    #expect(openingError(nested(4)) == nil)
    #expect(openingError(nested(5)) == .nestingTooDeep(key: "key", limit: 4, offset: 39 + 4 * 12))
    #expect(
      openingError(nested(100_000)) == .nestingTooDeep(key: "key", limit: 4, offset: 39 + 4 * 12))
  }

  @Test func alignment() {
    for alignment: UInt32 in [0, 3, 48, .max] {
      var raw = RawFile(entryCount: 1)
      raw.addKey("general.alignment", type: 4)
      raw.add(alignment)
      #expect(openingError(raw.bytes) == .invalidAlignment(Int(alignment)))
    }
    var raw = RawFile(entryCount: 1)
    raw.addKey("general.alignment", type: 6)
    raw.add(Float(32).bitPattern)
    #expect(
      openingError(raw.bytes)
        == .wrongType(key: "general.alignment", expected: "uint32", found: "float32"))
  }
}

struct TensorRejectionTests {
  private func error(
    _ sizes: [UInt64], type: UInt32 = 0, offset: UInt64 = 0, data: Int = 64
  ) -> GGUFError? {
    var raw = RawFile(tensorCount: 1)
    raw.addTensor("t", sizes, type: type, offset: offset)
    raw.addData(data)
    return openingError(raw.bytes)
  }

  private func absurd(_ problem: ShapeProblem) -> GGUFError {
    .absurdShape(tensor: "t", problem: problem, offset: 24)
  }

  @Test func shapes() {
    #expect(error([16]) == nil)
    #expect(error([2, 2, 2, 2]) == nil)
    #expect(error([]) == absurd(.dimensionCount(0)))
    #expect(error([1, 1, 1, 1, 1]) == absurd(.dimensionCount(5)))
    #expect(error([0]) == absurd(.emptyDimension(0)))
    #expect(error([4, 0, 4]) == absurd(.emptyDimension(1)))
    #expect(error([.max]) == absurd(.overflow))
    #expect(error([1 << 32, 1 << 31]) == absurd(.overflow))
    #expect(error([1 << 62]) == absurd(.overflow), "elements fit, bytes do not")
    #expect(error([33], type: 2) == absurd(.partialBlock(rowLength: 33, blockSize: 32)))
    #expect(error([16, 2], type: 2) == absurd(.partialBlock(rowLength: 16, blockSize: 32)))
  }

  @Test func types() {
    for type: UInt32 in [4, 5, 31, 36, 40, .max] {
      #expect(error([32], type: type) == .unknownTensorType(tensor: "t", type: type, offset: 45))
    }
  }

  @Test func places() {
    #expect(error([8], offset: 32) == nil)
    #expect(
      error([8], offset: 4) == .misalignedTensor(tensor: "t", relativeOffset: 4, alignment: 32))
    let size = 64 + 64
    #expect(
      error([17]) == .tensorPastEnd(tensor: "t", relativeOffset: 0, byteCount: 68, sizeBytes: size))
    #expect(
      error([9], offset: 32)
        == .tensorPastEnd(tensor: "t", relativeOffset: 32, byteCount: 36, sizeBytes: size))
    #expect(
      error([1], offset: UInt64.max - 31)
        == .tensorPastEnd(
          tensor: "t", relativeOffset: UInt64.max - 31, byteCount: 4, sizeBytes: size))
    #expect(
      error([1], data: 0)
        == .tensorPastEnd(tensor: "t", relativeOffset: 0, byteCount: 4, sizeBytes: 64))
  }

  @Test func aPairThatSharesBytesOrAName() {
    var overlapping = RawFile(tensorCount: 2)
    overlapping.addTensor("a", [4], offset: 32)
    overlapping.addTensor("b", [9], offset: 0)
    overlapping.addData(64)
    #expect(openingError(overlapping.bytes) == .overlappingTensors(first: "b", second: "a"))

    var repeated = RawFile(tensorCount: 2)
    repeated.addTensor("a", [4], offset: 32)
    repeated.addTensor("a", [4], offset: 0)
    repeated.addData(64)
    #expect(openingError(repeated.bytes) == .duplicateTensor("a", offset: 57))
  }

  @Test func aHugeAlignmentMovesTheDataBeyondTheEnd() {
    var raw = RawFile(tensorCount: 1, entryCount: 1)
    raw.addKey("general.alignment", type: 10)
    raw.add(UInt64(1) << 62)
    raw.addTensor("t", [1])
    let size = raw.bytes.count
    #expect(
      openingError(raw.bytes)
        == .tensorPastEnd(tensor: "t", relativeOffset: 0, byteCount: 4, sizeBytes: size))
  }
}

struct MessageTests {
  @Test func messagesSayWhatIsWrongAndWhatWouldBeRight() {
    #expect(
      GGUFError.wrongMagic(found: [80, 75, 3, 4]).description
        == "not a GGUF file: it starts with 50 4b 03 04, a GGUF file starts with 47 47 55 46 (\"GGUF\")"
    )
    #expect(
      GGUFError.unsupportedVersion(1).description
        == "GGUF version 1 at offset 4 is not supported; supported are 2 and 3")
    #expect(
      GGUFError.absurdShape(
        tensor: "t", problem: .partialBlock(rowLength: 33, blockSize: 32), offset: 24
      ).description
        == "tensor t at offset 24 has rows of 33 elements; its type needs a multiple of 32")
    #expect(
      GGUFError.cannotRead(path: "x.gguf", errno: ENOENT).description
        == "cannot read x.gguf: No such file or directory")
    #expect(
      GGUFError.missingKey(key: "k", expected: "a string").description
        == "the file has no k; expected a string")
    #expect(
      GGUFError.unknownTensorType(tensor: "t", type: 4, offset: 45).description.contains("Q4_1 (3)")
    )
  }
}
