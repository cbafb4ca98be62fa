import GGUF
import Testing

struct RobustnessTests {
  @Test func everyPrefixOfAFileIsRejected() throws {
    let bytes = everythingWriter().serialized()
    let last = try #require(GGUFFile(bytes: bytes).tensors.last)
    for count in 0..<last.byteOffset + last.byteCount {  // behind it is padding
      #expect(openingError(Array(bytes[..<count])) != nil, "\(count) of \(bytes.count) bytes")
    }
  }

  /// Whatever a damaged header still says, all of it can be read without leaving the file.
  @Test(arguments: [0x01, 0x10, 0x80, 0xFF] as [UInt8])
  func everyDamagedByteIsSurvived(mask: UInt8) throws {
    let bytes = everythingWriter().serialized()
    let first = try #require(GGUFFile(bytes: bytes).tensors.first)
    var rejectedCount = 0
    for index in 0..<first.byteOffset {
      var damaged = bytes
      damaged[index] ^= mask
      guard let file = try? GGUFFile(bytes: damaged) else {  // a rejection is one right answer
        rejectedCount += 1
        continue
      }
      for tensor in file.tensors {
        let count = unsafe file.withTensorBytes(tensor) { $0.count }
        #expect(count == tensor.byteCount)
      }
      #expect(file.fingerprint.count == 32)
    }
    #expect(rejectedCount > 100)
  }

  @Test func randomBytesBehindTheMagicAreSurvived() {
    var state: UInt64 = 42
    for _ in 0..<2000 {
      var raw = RawFile(tensorCount: 1, entryCount: 2)
      for _ in 0..<12 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        raw.add(state >> 33 & 0x0F)
      }
      _ = try? GGUFFile(bytes: raw.bytes)  // only a crash would be wrong
    }
  }
}
