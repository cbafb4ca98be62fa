import Decoding
import InferenceTypes
import Testing

/// Counts by looking at every place of every text.
private struct NaiveCounts {
  var texts: [[UInt32]] = []

  func count(of path: [UInt32]) -> Int {
    var count = 0
    for text in texts where text.count >= path.count {
      for start in 0...text.count - path.count
      where Array(text[start..<start + path.count]) == path {
        count += 1
      }
    }
    return count
  }
}

private func allPaths(over letters: UInt32, upTo length: Int) -> [[UInt32]] {
  var all: [[UInt32]] = []
  var layer: [[UInt32]] = [[]]
  for _ in 0..<length {
    layer = layer.flatMap { path in (0..<letters).map { path + [$0] } }
    all += layer
  }
  return all
}

@Suite struct SuffixTrieTests {
  @Test func countsEqualThoseOfANaiveMatcher() {
    let paths = allPaths(over: 3, upTo: 5)
    for seed in 0..<30 as Range<UInt64> {
      var random = SmallRandom(seed)
      var trie = SuffixTrie(depthMax: 5)
      var naive = NaiveCounts()
      for _ in 0..<3 {
        trie.beginText()
        naive.texts.append([])
        for _ in 0..<random.below(30) {
          let token = UInt32(random.below(3))
          trie.append(token)
          naive.texts[naive.texts.count - 1].append(token)
        }
        #expect(trie.isConsistent, "seed \(seed)")
        for path in paths {
          #expect(trie.count(of: path) == naive.count(of: path), "seed \(seed), \(path)")
        }
      }
    }
  }

  @Test func countsAreRightAfterEveryToken() {
    let paths = allPaths(over: 2, upTo: 4)
    var random = SmallRandom(7)
    var trie = SuffixTrie(depthMax: 4)
    var naive = NaiveCounts(texts: [[]])
    for step in 0..<60 {
      let token = UInt32(random.below(2))
      trie.append(token)
      naive.texts[0].append(token)
      #expect(trie.isConsistent)
      for path in paths {
        #expect(trie.count(of: path) == naive.count(of: path), "step \(step), \(path)")
      }
    }
  }

  @Test func aDroppedTextTakesItsCountsAlong() {
    let paths = allPaths(over: 3, upTo: 4)
    for seed in 0..<20 as Range<UInt64> {
      var random = SmallRandom(seed)
      var trie = SuffixTrie(depthMax: 4)
      var naive = NaiveCounts()
      for _ in 0..<12 {
        trie.beginText()
        let text = (0..<1 + random.below(25)).map { _ in UInt32(random.below(3)) }
        for token in text { trie.append(token) }
        naive.texts.append(text)
        if naive.texts.count > 3 {
          trie.dropOldest()
          naive.texts.removeFirst()
        }
        #expect(trie.isConsistent, "seed \(seed)")
        #expect(trie.textCount == naive.texts.count)
        for path in paths {
          #expect(trie.count(of: path) == naive.count(of: path), "seed \(seed), \(path)")
        }
      }
      while trie.textCount > 0 { trie.dropOldest() }
      #expect(trie.nodeCount == 1)
      #expect(trie.byteCount == SuffixTrie.bytesPerNode)
    }
  }

  @Test func textsWithoutRepetitionNeedFewNodes() {
    var trie = SuffixTrie(depthMax: 32)
    for token in 0..<1000 as Range<UInt32> { trie.append(token) }
    #expect(trie.nodeCount == 1001)
    for token in 0..<1000 as Range<UInt32> { trie.append(token) }
    #expect(trie.nodeCount < 33 * 1001)
    #expect(trie.count(of: Array(5..<25)) == 2)
    #expect(trie.count(of: [5, 7]) == 0)
  }
}
