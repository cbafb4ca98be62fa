package import GGUF
package import InferenceTypes

/// Byte-level byte pair encoding with the vocabulary of a model file.
///
/// Encodes any bytes; what is not UTF-8 is split byte by byte. Decoding gives the same bytes again,
/// but for ``missingBytes``.
package struct BytePairTokenizer: Sendable {
  /// Token ids are 32 bits wide; the last ones are not ids.
  static let vocabularyCountMax = Int(UInt32.max) - 2

  /// Number of tokens; ids are less. A model may have more logits than that.
  package let vocabularyCount: Int
  /// The token that marks the beginning of a sequence, if the file names one.
  package let beginOfSequence: TokenID?
  /// Whether a sequence is to begin with ``beginOfSequence``. ``encode(_:parseSpecial:)`` leaves
  /// that to its caller, who knows where a sequence begins.
  package let addsBeginOfSequence: Bool
  /// The token that marks the end of a sequence, if the file names one.
  package let endOfSequence: TokenID?
  /// Tokens after which there is nothing to generate, ascending.
  package let endOfGeneration: [TokenID]
  /// Bytes that the vocabulary cannot express, ascending; usually none. Encoding leaves them out.
  package let missingBytes: [UInt8]
  /// BLAKE2b-32 of model, splitting rules, tokens, their types and merges: the same means the same
  /// tokens for every text.
  package let fingerprint: [UInt8]

  private let preTokenizer: PreTokenizer
  private let types: [TokenType]
  /// The bytes of all tokens one after the other, and where each starts.
  private let pieces: [UInt8]
  private let pieceStarts: [Int]
  private let byteTokens: [UInt32]
  private let merges: MergeTable
  /// Empty unless the splitting rules take whole words.
  private let wholeWords: [ArraySlice<UInt8>: UInt32]
  private let userDefined: SpecialTokenFinder
  private let allSpecial: SpecialTokenFinder

  /// Takes the vocabulary of `file`.
  ///
  /// - Throws: ``TokenizerError``, which names the metadata at fault.
  package init(file: GGUFFile) throws(TokenizerError) {
    let source = try VocabularySource(file: file)
    preTokenizer = source.preTokenizer
    types = source.types
    vocabularyCount = source.texts.count
    let alphabet = ByteAlphabet()
    let pieceBytes = try source.pieceBytes(alphabet)
    let symbols = try source.symbols(alphabet, pieceBytes)
    merges = try source.mergeTable(alphabet, symbols)
    wholeWords = preTokenizer.takesWholeWords ? symbols : [:]
    byteTokens = (UInt8.min...UInt8.max).map { symbols[[$0]] ?? WordMerger.missing }
    missingBytes = (UInt8.min...UInt8.max).filter { symbols[[$0]] == nil }
    pieces = pieceBytes.flatMap { $0 }
    var starts = [0]
    for piece in pieceBytes { starts.append(starts[starts.count - 1] + piece.count) }
    pieceStarts = starts

    userDefined = source.finder { $0 == .userDefined }
    allSpecial = source.finder { $0 == .userDefined || $0.isHidden }
    beginOfSequence = try source.token("tokenizer.ggml.bos_token_id")
    endOfSequence = try source.token("tokenizer.ggml.eos_token_id")
    endOfGeneration = try source.endOfGeneration(endOfSequence)
    addsBeginOfSequence = try source.addsBeginOfSequence() && beginOfSequence != nil
    fingerprint = source.fingerprint()
  }

  /// Encodes text.
  ///
  /// - Parameters:
  ///   - text: any text.
  ///   - parseSpecial: whether the texts of control tokens become those tokens; never for text that
  ///     comes from a user. User-defined tokens are matched in any case.
  /// - Returns: the tokens of `text`, without a beginning of sequence.
  package func encode(_ text: String, parseSpecial: Bool) -> [TokenID] {
    encode(bytes: Array(text.utf8), parseSpecial: parseSpecial)
  }

  /// Encodes bytes, which need not be UTF-8.
  ///
  /// - Parameters:
  ///   - bytes: less than 4 GiB.
  ///   - parseSpecial: as for ``encode(_:parseSpecial:)``.
  /// - Returns: the tokens of `bytes`, without a beginning of sequence.
  /// - Complexity: O(n log n) for n bytes.
  package func encode(bytes: [UInt8], parseSpecial: Bool) -> [TokenID] {
    var output: [TokenID] = []
    output.reserveCapacity(bytes.count / 3)
    var merger = WordMerger()
    var start = 0
    for match in (parseSpecial ? allSpecial : userDefined).matches(in: bytes) {
      encodePlain(bytes, start..<match.range.lowerBound, &merger, into: &output)
      output.append(match.token)
      start = match.range.upperBound
    }
    encodePlain(bytes, start..<bytes.count, &merger, into: &output)
    return output
  }

  private func encodePlain(
    _ bytes: [UInt8], _ range: Range<Int>, _ merger: inout WordMerger, into output: inout [TokenID]
  ) {
    let segment = bytes.span.extracting(range)
    var start = 0
    while start < segment.count {
      let end = preTokenizer.wordEnd(in: segment, from: start)
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

  /// Decodes one token.
  ///
  /// - Parameters:
  ///   - token: less than ``vocabularyCount``.
  ///   - includeSpecial: whether control tokens give their text instead of nothing.
  /// - Returns: the bytes that `token` stands for, which need not be whole characters: see
  ///   ``StreamingDetokenizer``.
  package func bytes(of token: TokenID, includeSpecial: Bool) -> [UInt8] {
    let index = Int(token.rawValue)
    precondition(index < vocabularyCount, "token \(index) of \(vocabularyCount)")
    if types[index].isHidden && !includeSpecial { return [] }
    return Array(pieces[pieceStarts[index]..<pieceStarts[index + 1]])
  }

  /// Whether `token` is one that only markup can produce.
  package func isControl(_ token: TokenID) -> Bool {
    let index = Int(token.rawValue)
    return index < vocabularyCount && types[index] == .control
  }
}
