package import InferenceTypes

/// The bounds of the protocol. Both sides enforce them: on encoding and on decoding.
///
/// They are chosen such that every message within its own limits fits in one frame.
package enum Limits {
  /// Bytes of one frame.
  package static let frameBytesMax = 1 << 20
  /// Memory that protobuf-c may take for one frame; hostile frames ask for thirty times their size.
  package static let decodingMemoryBytesMax = 4 << 20

  /// Tokens of a context; also the largest position, and prompt and decided tokens together.
  package static let contextLengthMax = 131_072
  package static let vocabularyCountMax = 1 << 22
  package static let logitBiasCountMax = 4096
  package static let endTokenCountMax = 64
  package static let truthTokenCountMax = 65_536
  package static let topWidthMax = 64
  /// Entries of ``Truth/topTokens``.
  package static let topTokenCountMax = 32_768
  /// Draft nodes in one message, and laws that they were drawn from.
  package static let nodeCountMax = 256
  /// Tokens that a draft model is told to read at a time.
  package static let ingestTokenCountMax = 4096
  /// Tokens that a drafter writes in a row.
  package static let burstCountMax = 256
  package static let entropyWindowMax = 1024
  /// Logits of one row, which has to fit in a frame with its message.
  package static let rowCountMax = 258_048
  /// Tokens of a law.
  package static let lawEntryCountMax = 64
  package static let predictionCountMax = 16_384

  package static let slotCountMax = 4096
  package static let draftMethodCountMax = 16
  package static let verifyCostCountMax = 128
  /// Of a step of any size, in steps of one column; as much less at most.
  package static let verifyCostMax: Float = 10_000
  package static let heartbeatIntervalMax = Duration.seconds(60)
  package static let durationMax = Duration.seconds(1_000_000)

  /// Characters of names of workers and draft methods.
  package static let nameLengthMax = 64
  package static let modelIDLengthMax = 128
  package static let endpointLengthMax = 256
  /// Bytes of a sentence in a refusal.
  package static let textBytesMax = 1024
}

/// Hash of the truth that a drafter knows, so that a resumed stream can tell whether both sides
/// mean the same tokens: FNV-1a, 64 bits, over the tokens as 32-bit little-endian words.
///
/// - SeeAlso: Fowler, Noll and Vo, draft-eastlake-fnv.
package struct TruthHash: Sendable, Equatable {
  package private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  package init() {}

  package mutating func absorb(_ token: TokenID) {
    for shift in stride(from: UInt32(0), to: 32, by: 8) {
      value ^= UInt64((token.rawValue >> shift) & 0xFF)
      value &*= 0x100_0000_01B3
    }
  }

  package mutating func absorb(_ tokens: some Sequence<TokenID>) {
    for token in tokens { absorb(token) }
  }
}
