/// The printable characters that byte-level vocabularies write bytes with: printable Latin-1
/// characters stand for themselves, the other bytes are U+0100 and up in their order.
///
/// - SeeAlso: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", 2.2.
struct ByteAlphabet {
  private var bytesByScalar: [UInt8?]

  init() {
    bytesByScalar = []
    var unprintable: [UInt8] = []
    for byte in UInt8.min...UInt8.max {
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: bytesByScalar.append(byte)
      default:
        bytesByScalar.append(nil)
        unprintable.append(byte)
      }
    }
    bytesByScalar += unprintable.map { $0 }
  }

  /// The bytes that `text` writes; nil where a character is not in the alphabet.
  func bytes(of text: some StringProtocol) -> [UInt8]? {
    var bytes: [UInt8] = []
    for scalar in text.unicodeScalars {
      guard let byte = byte(of: scalar) else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  /// The bytes that `text` writes, where characters outside of the alphabet stand for themselves.
  func lenientBytes(of text: String) -> [UInt8] {
    text.unicodeScalars.flatMap { scalar in
      byte(of: scalar).map { [$0] } ?? Array(String(scalar).utf8)
    }
  }

  private func byte(of scalar: Unicode.Scalar) -> UInt8? {
    scalar.value < bytesByScalar.count ? bytesByScalar[Int(scalar.value)] : nil
  }
}
