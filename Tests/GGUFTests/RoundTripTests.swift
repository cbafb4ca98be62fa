import Foundation
import GGUF
import Testing

struct RoundTripTests {
  @Test(arguments: [2, 3] as [UInt32], [1, 8, 32, 256])
  func readsWhatWasWritten(version: UInt32, alignment: Int) throws {
    let written = everythingWriter(version: version, alignment: alignment).serialized()
    let file = try GGUFFile(bytes: written)
    #expect(file.version == version)
    #expect(file.alignment == alignment)
    #expect(file.sizeBytes == written.count)
    #expect(file.keys.filter { $0 != "general.alignment" } == everyValue.map(\.0))
    for (key, value) in everyValue { #expect(file[key] == value, "\(key)") }
    #expect(file["absent"] == nil)
    #expect(file.tensors.map(\.name) == ["first", "second", "third"])
    let second = try #require(file.tensor(named: "second"))
    #expect(second.dimensions == [32, 1, 2, 1])
    #expect(second.type == .q4_1)
    #expect(second.byteCount == 40 && second.rowBytes == 20)
    #expect(second.elementCount == 64 && second.rowCount == 2)
    #expect(second.byteOffset.isMultiple(of: alignment))
    #expect(unsafe file.withTensorBytes(second) { unsafe Array($0) } == Array(0..<40))
    #expect(file.tensor(named: "fourth") == nil)
  }

  @Test func everyTensorTypeKeepsItsPlaceAndSize() throws {
    var writer = GGUFWriter()
    for type in GGMLType.allCases {
      let bytes = [UInt8](repeating: UInt8(type.rawValue), count: 3 * type.blockBytes)
      writer.add(tensor: type.name, dimensions: [type.blockSize, 3], type: type, bytes: bytes)
    }
    let file = try GGUFFile(bytes: writer.serialized())
    for type in GGMLType.allCases {
      let tensor = try #require(file.tensor(named: type.name))
      #expect(tensor.type == type)
      let bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
      #expect(bytes == [UInt8](repeating: UInt8(type.rawValue), count: 3 * type.blockBytes))
    }
  }

  @Test func typesAreCalledAsUsual() {
    #expect(GGMLType.q4_K.name == "Q4_K")
    #expect(GGMLType.q4_1.name == "Q4_1")
    #expect(GGMLType.iq2_xxs.name == "IQ2_XXS")
    #expect(GGMLType.bf16.name == "BF16")
  }

  @Test func aFileOnDiskReadsLikeTheSameBytesInMemory() throws {
    let directory = FileManager.default.temporaryDirectory
    let path = directory.appendingPathComponent("\(UUID().uuidString).gguf").path
    defer { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers
    let writer = everythingWriter()
    try writer.write(to: path)
    let mapped = try GGUFFile(path: path)
    let copied = try GGUFFile(bytes: writer.serialized())
    mapped.adviseWillNeed()
    #expect(mapped.keys == copied.keys)
    #expect(mapped.tensors == copied.tensors)
    #expect(mapped.fingerprint == copied.fingerprint)
    let first = try #require(mapped.tensor(named: "first"))
    #expect(unsafe mapped.withTensorBytes(first) { unsafe Array($0) } == Array(0..<24))
  }

  @Test func aFileWithoutTensorsNeedsNoPadding() throws {
    var raw = RawFile(entryCount: 1)
    raw.addKey("key", type: 0)
    raw.add(UInt8(9))
    let file = try GGUFFile(bytes: raw.bytes)
    #expect(file.tensors.isEmpty)
    #expect(try file.integer("key") == 9)
    #expect(file.fingerprint.count == 32)
  }
}

struct MetadataTests {
  let file: GGUFFile

  init() throws { file = try GGUFFile(bytes: everythingWriter().serialized()) }

  @Test func integersOfEveryWidthAreIntegers() throws {
    #expect(try file.integer("uint8") == 255)
    #expect(try file.integer("int8") == -128)
    #expect(try file.integer("uint16") == 65_535)
    #expect(try file.integer("int16") == -32_768)
    #expect(try file.integer("uint32") == 4_294_967_295)
    #expect(try file.integer("int32") == -2_147_483_648)
    #expect(try file.integer("int64") == Int.min)
    #expect(try file.integerArray("int16s") == [-32_768, 1])
    #expect(try file.integerArray("uint32s") == [1, 4_294_967_295])
  }

  @Test func otherTypesAnswerToTheirName() throws {
    #expect(try file.float("float32") == -1.5)
    #expect(try file.float("float64") == Float(Double.pi))
    #expect(try file.bool("true"))
    #expect(try file.string("text") == "naïve 🙂")
    #expect(try file.stringArray("strings") == ["", "a", "βγ"])
    #expect(try file.floatArray("float32s") == [0.5, -0.25])
  }

  @Test func aDefaultStandsInForAbsenceOnly() throws {
    #expect(try file.integer("absent", default: 3) == 3)
    #expect(throws: GGUFError.missingKey(key: "absent", expected: "a string")) {
      try file.string("absent")
    }
    #expect(
      throws: GGUFError.wrongType(key: "text", expected: "an integer", found: "string")
    ) { try file.integer("text", default: 3) }
  }

  @Test func aWrongTypeIsNamed() {
    #expect(
      throws: GGUFError.wrongType(key: "uint64", expected: "an integer", found: "uint64")
    ) { try file.integer("uint64") }
    #expect(
      throws: GGUFError.wrongType(
        key: "uint64s", expected: "an array of integers", found: "array of uint64")
    ) { try file.integerArray("uint64s") }
    #expect(
      throws: GGUFError.wrongType(
        key: "int8s", expected: "an array of string", found: "array of int8")
    ) { try file.stringArray("int8s") }
  }
}

struct FingerprintTests {
  @Test func anyHeaderByteAndAnySampledByteCounts() throws {
    let original = everythingWriter().serialized()
    let file = try GGUFFile(bytes: original)
    for tensor in file.tensors {
      var changed = original
      changed[tensor.byteOffset + tensor.byteCount - 1] ^= 1
      #expect(try GGUFFile(bytes: changed).fingerprint != file.fingerprint)
    }
    var renamed = original
    let place = try #require(original.firstIndex(of: UInt8(ascii: "u")))
    renamed[place] = UInt8(ascii: "v")
    #expect(try GGUFFile(bytes: renamed).fingerprint != file.fingerprint)
  }

  @Test func largeTensorsAreSampledFromFirstToLastByte() throws {
    let size = 1 << 20
    func fingerprint(changing index: Int?) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: size)
      if let index { bytes[index] = 1 }
      var writer = GGUFWriter()
      writer.add(tensor: "large", dimensions: [size], type: .i8, bytes: bytes)
      return try GGUFFile(bytes: writer.serialized()).fingerprint
    }
    let original = try fingerprint(changing: nil)
    #expect(try fingerprint(changing: nil) == original)
    #expect(try fingerprint(changing: 0) != original)
    #expect(try fingerprint(changing: size / 15 * 7) != original)
    #expect(try fingerprint(changing: size - 16) != original)
    #expect(try fingerprint(changing: 10_000) == original, "between two samples")
  }
}

struct RealModelTests {
  @Test func theTestModelIsReadWhole() throws {
    let file = try openTestModel()
    #expect(try file.string("general.architecture") == "llama")
    #expect(try file.integer("llama.block_count") == 30)
    #expect(try file.float("llama.rope.freq_base") == 100_000)
    #expect(try file.stringArray("tokenizer.ggml.tokens").count == 49_152)
    #expect(file.tensors.count == 272)
    let embedding = try #require(file.tensor(named: "token_embd.weight"))
    #expect(embedding.dimensions == [576, 49_152])
    let end = file.tensors.map { $0.byteOffset + $0.byteCount }.max()
    #expect(end == file.sizeBytes)
    #expect(try openTestModel().fingerprint == file.fingerprint)
  }
}
