import Decoding
import InferenceTypes
import Testing

@Suite struct StoreFormatTests {
  private let stamp = StoreSamples.stamp(12)

  private func isRefused(_ bytes: [UInt8]) -> Bool {
    do {
      _ = try StoreFormat.decode(bytes, stamp: stamp)
      return false
    } catch { return true }
  }

  @Test func theChecksumIsThatOfTheStandard() {
    // The check value of CRC-64/XZ.
    #expect(Checksum.of(Array("123456789".utf8)[...]) == 0x995D_C9BB_DF19_39FA)
    var pieces = Checksum()
    pieces.update(Array("1234".utf8)[...])
    pieces.update(Array("56789".utf8)[...])
    #expect(pieces.value == 0x995D_C9BB_DF19_39FA)
  }

  @Test func sectionsComeBackAsTheyWere() throws {
    let sections = [
      StoreSection(kind: 1, layout: 9, owner: nil, payload: [1, 2, 3]),
      StoreSection(kind: .max, layout: .max, owner: .unnamed, payload: []),
      StoreSection(kind: 1, layout: 0, owner: try StoreSamples.tenant(1), payload: [0]),
    ]
    let bytes = StoreFormat.encode(sections[...], stamp: stamp)
    #expect(try StoreFormat.decode(bytes, stamp: stamp) == sections)
    let none = StoreFormat.encode([], stamp: stamp)
    #expect(try StoreFormat.decode(none, stamp: stamp) == [])
  }

  @Test func everyTruncationIsRefused() {
    let bytes = StoreSamples.smallFile()
    #expect(!isRefused(bytes))
    for count in bytes.indices { #expect(isRefused(Array(bytes[..<count])), "\(count) bytes") }
    #expect(isRefused(bytes + [0]))
  }

  @Test func everyFlippedByteIsRefused() {
    let bytes = StoreSamples.smallFile()
    for index in bytes.indices {
      for mask in [1, 0x80, 0xFF] as [UInt8] {
        var changed = bytes
        changed[index] ^= mask
        #expect(isRefused(changed), "byte \(index)")
      }
    }
  }

  @Test func whatIsWrongIsNamed() throws {
    let bytes = StoreSamples.smallFile()
    func error(_ bytes: [UInt8], _ stamp: StoreStamp) -> StoreError? {
      do {
        _ = try StoreFormat.decode(bytes, stamp: stamp)
        return nil
      } catch { return error }
    }
    #expect(error(Array("GGUF, say".utf8), stamp) == .notAStore)
    var newer = bytes
    newer[8] = 2
    #expect(error(newer, stamp) == .otherVersion(found: 2, supported: 1))
    #expect(
      error(bytes, StoreSamples.stamp(12, model: 9))
        == .otherModel(
          found: stamp.modelFingerprint, expected: [UInt8](repeating: 9, count: 32)))
    #expect(
      error(bytes, StoreSamples.stamp(12, tokenizer: 9))
        == .otherTokenizer(
          found: stamp.tokenizerFingerprint, expected: [UInt8](repeating: 9, count: 32)))
    #expect(error(bytes, StoreSamples.stamp(13)) == .otherVocabulary(found: 12, expected: 13))
    var damaged = bytes
    damaged[bytes.count - 1] ^= 1
    #expect(error(damaged, stamp) == .checksumMismatch(part: "section of kind 7"))
    #expect(error(bytes + [7], stamp) == .trailingBytes(part: "sections", count: 1))
  }

  @Test func aSectionCannotComeTwice() throws {
    let section = StoreSection(kind: 1, layout: 1, owner: nil, payload: [])
    #expect(isRefused(StoreFormat.encode([section, section], stamp: stamp)))
  }

  @Test func aLengthBeyondTheFileAllocatesNothing() throws {
    let section = StoreSection(kind: 5, layout: 1, owner: nil, payload: [1, 2])
    var bytes = StoreFormat.encode([section], stamp: stamp)
    // The eight bytes before the checksum and the payload.
    let start = bytes.count - 2 - 8 - 8
    for index in start..<start + 8 { bytes[index] = 0xFF }
    #expect(throws: StoreError.truncated(part: "section of kind 5", needed: .max, available: 2)) {
      try StoreFormat.decode(bytes, stamp: stamp)
    }
  }

  @Test func onlyWhatFitsIsWritten() {
    let sections = (0..<4).map {
      StoreSection(
        kind: UInt32($0), layout: 1, owner: nil, payload: [UInt8](repeating: 0, count: 100))
    }
    let whole = StoreFormat.encode(sections[...], stamp: stamp).count
    #expect(StoreFormat.fitting(sections, limit: whole).count == 4)
    #expect(StoreFormat.fitting(sections, limit: whole - 1).count == 3)
    #expect(StoreFormat.fitting(sections, limit: 100).isEmpty)
  }
}
