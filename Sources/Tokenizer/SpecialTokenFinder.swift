import InferenceTypes

/// Finds tokens that are matched as text, before any splitting: the longest ones first wherever
/// they are, then from left to right, as llama.cpp does.
struct SpecialTokenFinder: Sendable {
  /// A token and the bytes it stands for.
  struct Match: Equatable {
    var range: Range<Int>
    var token: TokenID
  }

  private var tokens: [ArraySlice<UInt8>: TokenID] = [:]
  /// Distinct lengths in bytes, longest first.
  private var lengths: [Int] = []
  /// By the first two bytes, whether a token of that beginning exists.
  private var beginnings: [Bool]
  /// By the one byte, whether a token of just that byte exists.
  private var singles = [Bool](repeating: false, count: 256)

  init(_ texts: [(text: [UInt8], token: TokenID)]) {
    beginnings = [Bool](repeating: false, count: texts.isEmpty ? 0 : 1 << 16)
    for (text, token) in texts where !text.isEmpty {
      tokens[text[...]] = token
      if text.count == 1 {
        singles[Int(text[0])] = true
      } else {
        beginnings[Self.beginning(text[0], text[1])] = true
      }
    }
    lengths = Set(tokens.keys.map(\.count)).sorted(by: >)
  }

  /// Matches in `bytes`, in order, none overlapping another.
  ///
  /// - Complexity: O(places where a token could begin, times distinct lengths of tokens).
  func matches(in bytes: [UInt8]) -> [Match] {
    guard !tokens.isEmpty else { return [] }
    let places = possiblePlaces(in: bytes)
    guard !places.isEmpty else { return [] }
    var matches: [Match] = []
    var isCovered = [Bool](repeating: false, count: bytes.count)
    for length in lengths {
      for place in places where place + length <= bytes.count {
        // What is covered so far is at least as long, so it covers an end of what it overlaps.
        if isCovered[place] || isCovered[place + length - 1] { continue }
        let range = place..<place + length
        guard let token = tokens[bytes[range]] else { continue }
        matches.append(Match(range: range, token: token))
        for index in range { isCovered[index] = true }
      }
    }
    return matches.sorted { $0.range.lowerBound < $1.range.lowerBound }
  }

  private func possiblePlaces(in bytes: [UInt8]) -> [Int] {
    var places: [Int] = []
    for place in bytes.indices {
      let isBeginning =
        place + 1 < bytes.count && beginnings[Self.beginning(bytes[place], bytes[place + 1])]
      if isBeginning || singles[Int(bytes[place])] { places.append(place) }
    }
    return places
  }

  private static func beginning(_ first: UInt8, _ second: UInt8) -> Int {
    Int(first) << 8 | Int(second)
  }
}
