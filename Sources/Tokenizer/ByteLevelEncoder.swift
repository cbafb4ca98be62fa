import InferenceTypes

/// Byte pair encoding of bytes: text is split into words by rules, and each word is merged from its
/// bytes.
struct ByteLevelEncoder: Sendable {
  let preTokenizer: PreTokenizer
  /// Bytes that the vocabulary cannot express, ascending. Encoding leaves them out.
  let missingBytes: [UInt8]
  private let byteTokens: [UInt32]
  private let merges: MergeTable
  /// Empty unless the splitting rules take whole words.
  private let wholeWords: [ArraySlice<UInt8>: UInt32]

  /// Takes the vocabulary of `source`, of which `pieceBytes` are the bytes of each token.
  init(
    _ source: VocabularySource, _ preTokenizer: PreTokenizer, _ alphabet: ByteAlphabet,
    pieceBytes: [[UInt8]]
  ) throws(TokenizerError) {
    self.preTokenizer = preTokenizer
    let symbols = try source.symbols(alphabet, pieceBytes)
    merges = try source.mergeTable(alphabet, symbols)
    wholeWords = preTokenizer.takesWholeWords ? symbols : [:]
    byteTokens = (UInt8.min...UInt8.max).map { symbols[[$0]] ?? WordMerger.missing }
    missingBytes = (UInt8.min...UInt8.max).filter { symbols[[$0]] == nil }
  }

  /// Appends the tokens of `bytes` in `range`.
  func encode(
    _ bytes: [UInt8], _ range: Range<Int>, _ merger: inout WordMerger, into output: inout [TokenID]
  ) {
    let segment = bytes.span.extracting(range)
    var start = 0
    for end in preTokenizer.wordEnds(in: segment) {
      if !wholeWords.isEmpty,
        let token = wholeWords[bytes[range.lowerBound + start..<range.lowerBound + end]]
      {
        output.append(TokenID(token))
      } else {
        merger.encode(segment.extracting(start..<end), byteTokens, merges, into: &output)
      }
      start = end
    }
  }
}
