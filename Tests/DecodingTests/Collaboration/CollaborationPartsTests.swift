import Decoding
import Foundation
import InferenceTypes
import Testing

@Suite struct RowSummaryTests {
  @Test func aRowIsSummarisedAsItsDefinitionReads() {
    let rows: [[Float]] = [
      [0, 0, 0, 0], [1, 2, 3, 4], [0, -.infinity, 0], [-1, .nan, 5, 5], [300, 1, 299],
    ]
    for row in rows {
      let logits = row.filter { $0 > -.infinity }.map(Double.init)
      let largest = logits.max() ?? 0
      let total = logits.reduce(0) { $0 + exp($1 - largest) }
      let shares = logits.map { exp($0 - largest) / total }.sorted(by: >)
      let summary = RowSummary(logits: row.span)
      let entropy = shares.reduce(0) { $0 - $1 * log2($1) }
      #expect(abs(summary.entropy - entropy) < 1e-9, "\(row)")
      #expect(abs(summary.maxProbability - shares[0]) < 1e-12)
      #expect(abs(summary.gap - (shares[0] - shares[1]) / 2) < 1e-12)
    }
  }

  @Test func knownEntropiesComeOut() {
    let even: [Float] = [7, 7, 7, 7, 7, 7, 7, 7]
    #expect(abs(RowSummary(logits: even.span).entropy - 3) < 1e-12)
    let certain: [Float] = [-.infinity, 2, -.infinity]
    #expect(
      RowSummary(logits: certain.span)
        == RowSummary(entropy: 0, maxProbability: 1, gap: 0.5))
    let infinite: [Float] = [0, .infinity, 1]
    #expect(RowSummary(logits: infinite.span).maxProbability == 1)
    let nothing: [Float] = [.nan, -.infinity]
    #expect(
      RowSummary(logits: nothing.span) == RowSummary(entropy: 0, maxProbability: 0, gap: 0))
  }
}

@Suite struct EntropySwitchTests {
  private func writers(
    _ entropies: [Double], _ change: (inout CollaborationParameters) -> Void
  ) -> [Bool] {
    var parameters = CollaborationParameters(method: .entropy)
    parameters.entropyHysteresis = 0
    change(&parameters)
    var entropySwitch = EntropySwitch(parameters)
    if let first = entropies.first { entropySwitch.begin(entropy: first) }
    var all = [entropySwitch.writesTarget]
    for entropy in entropies {
      entropySwitch.observe(entropy: entropy)
      all.append(entropySwitch.writesTarget)
    }
    return all
  }

  /// Means of two: 0.1, 0.5, 0.95, 0.55, 0.15, 0.1; a stay of two on each side.
  @Test func aScriptSwitchesAtExactPlaces() {
    let script = [0.1, 0.9, 1.0, 0.1, 0.2, 0.0]
    let plain = writers(script) {
      $0.entropyThreshold = 0.6
      $0.entropyWindow = 2
      $0.draftStay = 2
      $0.targetStay = 2
    }
    #expect(plain == [false, false, false, true, true, false, false])
    let reluctant = writers(script) {
      $0.entropyThreshold = 0.6
      $0.entropyHysteresis = 0.52
      $0.entropyWindow = 2
      $0.draftStay = 2
      $0.targetStay = 2
    }
    #expect(reluctant == [false, false, false, true, true, true, true])
  }

  @Test func theFirstTokenNeedsNoStay() {
    #expect(writers([2.0]) { $0.draftStay = 50 }[0])
    #expect(!writers([0.1]) { $0.draftStay = 1 }[0])
  }

  @Test func bothEndsAreExact() {
    var random = SmallRandom(3)
    let entropies = [0] + (0..<200).map { _ in Double(random.unit()) * 20 } + [0, 0, 0, 0, 0, 0]
    for stay in [1, 3, 10] {
      let large = writers(entropies) {
        $0.entropyThreshold = 0
        $0.targetStay = stay
      }
      #expect(large.allSatisfy { $0 })
      let small = writers(entropies) {
        $0.entropyThreshold = .infinity
        $0.draftStay = stay
      }
      #expect(!small.contains(true))
    }
  }

  @Test func staysAreHeldAndChangesHaveTheirReason() {
    for seed in 0..<200 as Range<UInt64> {
      var random = SmallRandom(seed)
      var parameters = CollaborationParameters(method: .entropy)
      parameters.entropyThreshold = 0.5 + random.unit()
      parameters.entropyHysteresis = random.unit() * 0.5
      parameters.entropyWindow = 1 + random.below(6)
      parameters.draftStay = 1 + random.below(8)
      parameters.targetStay = 1 + random.below(8)
      var entropySwitch = EntropySwitch(parameters)
      entropySwitch.begin(entropy: Double(random.unit()) * 2)
      var run = 0
      var seen: [Double] = []
      for _ in 0..<120 {
        let entropy = Double(random.unit()) * 2
        let before = entropySwitch.writesTarget
        entropySwitch.observe(entropy: entropy)
        seen.append(entropy)
        run += 1
        let latest = seen.suffix(parameters.entropyWindow)
        let mean = latest.reduce(0, +) / Double(latest.count)
        let threshold = Double(parameters.entropyThreshold)
        let lower = threshold - Double(parameters.entropyHysteresis)
        let stay = before ? parameters.targetStay : parameters.draftStay
        if entropySwitch.writesTarget != before {
          #expect(run >= stay)
          #expect(before ? mean < lower : mean >= threshold)
          run = 0
        } else {
          #expect(run < stay || (before ? mean >= lower : mean < threshold))
        }
      }
    }
  }

  /// Noise inside the band changes the writer once at most, however long it goes on.
  @Test func noiseInsideTheBandNeverFlaps() {
    var random = SmallRandom(9)
    var parameters = CollaborationParameters(method: .entropy)
    parameters.entropyThreshold = 1
    parameters.entropyHysteresis = 0.4
    parameters.entropyWindow = 1
    parameters.draftStay = 1
    parameters.targetStay = 1
    var entropySwitch = EntropySwitch(parameters)
    entropySwitch.begin(entropy: 0)
    var changes = 0
    for _ in 0..<1000 {
      let before = entropySwitch.writesTarget
      entropySwitch.observe(entropy: 0.6 + Double(random.unit()) * 0.6)
      if entropySwitch.writesTarget != before { changes += 1 }
    }
    #expect(changes == 1)
  }
}

@Suite struct SentenceTests {
  private func count(_ text: String) -> Int {
    var tracker = SentenceTracker()
    tracker.append(text)
    return tracker.sentenceCount
  }

  @Test(
    arguments: [
      ("One. Two? Three! Four: five", 5), ("No end", 1), ("", 0), ("Pi is 3.14159. Yes.", 2),
      ("see file.txt, e.g. this", 2), ("He said \"Stop.\" Then left.", 2), ("(Why?) Because.", 2),
      ("A\nB\n\nC", 3), ("Wait... what?", 2), ("std::vector is C++.", 1),
      ("Run `a.b. c` now. Go.", 3), ("Do:\n```\nx = 1. \ny! z\n```\nDone. Bye.", 3),
      ("你好。再见！", 2), ("  \n\n \"Hi.\"\n", 1),
    ] as [(String, Int)])
  func sentencesAreCounted(text: String, expected: Int) { #expect(count(text) == expected) }

  @Test func anyCutIntoPiecesGivesTheSame() {
    let text = "He said: \"No.\" It is 3.5 ```a. b```\nTrue? Yes.\n"
    let characters = Array(text)
    for size in 1...characters.count {
      var tracker = SentenceTracker()
      var start = 0
      while start < characters.count {
        tracker.append(String(characters[start..<min(characters.count, start + size)]))
        start += size
      }
      var whole = SentenceTracker()
      whole.append(text)
      #expect(tracker == whole, "pieces of \(size)")
    }
  }

  private func turns(
    _ pieces: [String], seed: UInt64 = 1, _ change: (inout CollaborationParameters) -> Void
  ) -> [Bool] {
    var parameters = CollaborationParameters(method: .leading)
    change(&parameters)
    var turns = LeadingTurns(parameters, seed: seed)
    return pieces.map { piece in
      defer { turns.append(piece) }
      return turns.writesTarget
    }
  }

  @Test func theTargetWritesTheFirstTokensOfEachSentence() {
    let pieces = ["It", " is", " 3", ".", "5", " m", ".", " So", " it", " is", ".", "\n", "A", "b"]
    let led = turns(pieces) { $0.leadingTokens = 2 }
    //             It    is    3      .      5     m      .      So    it    is     .
    #expect(
      led == [
        true, true, false, false, true, false, false, true, true, false, false, true, true, true,
      ])
  }

  @Test func theEndsOfTheGateAreOneModelAlone() {
    let pieces = ["A", ".", " B", ".", "\n", "C", " d", "!", " ", "E"]
    #expect(
      turns(pieces) {
        $0.leadProbability = 0
        $0.ledSentences = 0
      }.allSatisfy { !$0 })
    #expect(
      turns(pieces) {
        $0.leadingTokens = Int(Int32.max)
        $0.leadProbability = 1
        $0.ledSentences = 0
      }.allSatisfy { $0 })
    #expect(turns(pieces) { $0.leadingTokens = 0 }.allSatisfy { !$0 })
  }

  @Test func theGateOpensAtItsRateAndTheSameForASeed() {
    let pieces = [String](repeating: "A b.\n", count: 4000)
    let first = turns(pieces, seed: 7) {
      $0.leadProbability = 0.25
      $0.ledSentences = 0
      $0.leadingTokens = 1
    }
    let count = first.count { $0 }
    // Five standard deviations of 27.
    #expect(abs(count - 1000) < 140, "\(count)")
    let again = turns(pieces, seed: 7) {
      $0.leadProbability = 0.25
      $0.ledSentences = 0
      $0.leadingTokens = 1
    }
    #expect(first == again)
  }
}

@Suite struct LogitCombinationTests {
  /// Worked by hand: floor is 3 + ln 0.1 = 0.697; 0.5 is below it.
  @Test func contrastGivesItsFormula() {
    let target: [Float] = [3, 2, 0.5, 1]
    let draft: [Float] = [3, 0, 9, 2]
    var row: [Float] = []
    LogitCombination.contrastive(
      target: target.span, draft: draft.span, plausibility: 0.1, contrast: 1.5, into: &row)
    #expect(row == [3, 3, -.infinity, 0.5])
    LogitCombination.contrastive(
      target: target.span, draft: draft.span, plausibility: 0, contrast: 0.5, into: &row)
    #expect(row == [3, 1, 4.75, 1.5])
  }

  @Test func neutralWeightsGiveTheLargeModelsBits() {
    var random = SmallRandom(5)
    func randomRow() -> [Float] { (0..<97).map { _ in (random.unit() - 0.5) * 30 } }
    let base = randomRow()
    let expert = randomRow()
    let antiexpert = randomRow()
    var row: [Float] = []
    LogitCombination.contrastive(
      target: base.span, draft: expert.span, plausibility: 0, contrast: 1, into: &row)
    #expect(row.map(\.bitPattern) == base.map(\.bitPattern))
    LogitCombination.proxy(
      base: base.span, expert: expert.span, antiexpert: antiexpert.span, strength: 0, into: &row)
    #expect(row.map(\.bitPattern) == base.map(\.bitPattern))
    LogitCombination.proxy(
      base: base.span, expert: expert.span, antiexpert: expert.span, strength: 3, into: &row)
    #expect(row.map(\.bitPattern) == base.map(\.bitPattern))
  }

  @Test func proxyTuningGivesItsFormula() {
    let base: [Float] = [1, 2, -3, 0]
    let expert: [Float] = [2, 1, 0, -.infinity]
    let antiexpert: [Float] = [1, 1, 4, 1]
    var row: [Float] = []
    LogitCombination.proxy(
      base: base.span, expert: expert.span, antiexpert: antiexpert.span, strength: 0.5, into: &row)
    #expect(row == [1.5, 2, -5, 0])
  }
}
