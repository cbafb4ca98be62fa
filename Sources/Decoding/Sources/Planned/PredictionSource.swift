package import InferenceTypes

/// Drafts from a text that the user expects, for example the file that the answer will be an edit
/// of: what follows in it is drafted, and after a difference the place is found again.
///
/// - SeeAlso: Ge et al. 2022, arXiv:2205.10350 (input-guided aggressive decoding). The rule for
///   finding the place again is theirs: the shortest end of the answer, of at most ``suffixMax``
///   tokens, that occurs exactly once at or after the last place. Departs from it in trying longer
///   ends, and in the latest place among several where no end is unique, at a smaller claim.
package struct PredictionSource: PlannedSource {
  package static var origin: DraftOrigin { .prediction }
  private static let suffixMax = 8
  private static let blockMax = 32

  package init() {}

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    guard let pointer = text.predictionPointer() else { return }
    var parent = 0
    for offset in 0..<min(Self.blockMax, text.prediction.count - pointer.place) {
      // How long the answer has followed the prediction is what the trust rests on.
      let level = matchLevel(pointer.runLength + offset)
      parent = draft.add(
        text.prediction[pointer.place + offset].rawValue, below: parent,
        claimed: pointer.isSure ? max(0.6, matchPrior(level)) : 0.3, level: level)
    }
  }
}

/// Where an answer stands in the text that was expected.
struct PredictionPointer: Sendable, Equatable {
  /// Index in the prediction of the token to come.
  var place = 0
  /// Tokens that the answer has followed the prediction for, without a difference.
  var runLength = 0
  /// Whether one place only was found.
  var isSure = true
  /// Tokens of the answer that are accounted for.
  var seenCount = 0

  private static let suffixMax = 8

  /// Follows the answer to its end.
  ///
  /// - Parameters:
  ///   - answer: generated tokens.
  ///   - prediction: the expected text.
  /// - Returns: `false` where the place is lost.
  mutating func follow(_ answer: ArraySlice<UInt32>, in prediction: [TokenID]) -> Bool {
    while seenCount < answer.count {
      let token = answer[answer.startIndex + seenCount]
      guard place < prediction.count, prediction[place].rawValue == token else {
        // All of the answer counts at once: the place is searched from its end.
        seenCount = answer.count
        return resynchronize(answer, in: prediction)
      }
      place += 1
      runLength += 1
      seenCount += 1
    }
    return place < prediction.count && (runLength > 0 || answer.isEmpty)
  }

  private mutating func resynchronize(
    _ answer: ArraySlice<UInt32>, in prediction: [TokenID]
  ) -> Bool {
    runLength = 0
    // A deletion moves the place forward, an insertion leaves it; both are found from the place
    // on, and a block that moved is found from the beginning.
    for start in [place, 0] {
      var fallback: Int?
      for length in 1...Self.suffixMax where length <= answer.count {
        let wanted = answer.suffix(length)
        var matches: [Int] = []
        for end in max(length, start)..<max(length, start, prediction.count) {
          let isMatch = zip(prediction[end - length..<end], wanted).allSatisfy {
            $0.rawValue == $1
          }
          if isMatch { matches.append(end) }
        }
        if matches.count == 1 {
          (place, runLength, isSure) = (matches[0], length, true)
          return true
        }
        guard let nearest = matches.first else { break }
        fallback = nearest
      }
      if let fallback {
        (place, isSure) = (fallback, false)
        runLength = 1
        return true
      }
    }
    return false
  }
}
