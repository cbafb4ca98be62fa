package import InferenceTypes

/// A model that takes part in a collaboration.
package enum CollaborationModel: Int, Sendable, Equatable, CaseIterable {
  /// The small model; in proxy tuning the tuned one.
  case draft
  /// The large model.
  case target
  /// The small model before tuning; in proxy tuning only.
  case antiexpert
}

/// Whose logits a token is chosen from.
package enum CollaborationWriter: Sendable, Equatable {
  case draft
  case target
  /// Several models' together.
  case combined
}

/// What a ``CollaborationSession`` hears.
package enum CollaborationEvent: Sendable, Equatable {
  /// A model holds the tokens of an earlier ``CollaborationEffect/ingest(_:_:wantsRow:)``; `row`
  /// describes the distribution that follows them, where it was wanted.
  case ingested(CollaborationModel, Range<Int>, row: RowSummary?)
  /// The token of an earlier ``CollaborationEffect/choose(_:)``, and what it adds to the text.
  case chosen(TokenID, text: String)
  /// A small model is gone for good: from the next token on the target writes alone. A choice that
  /// is not the target's is withdrawn, where it is still open.
  case lost(CollaborationModel)
}

/// What a ``CollaborationSession`` wants done.
package enum CollaborationEffect: Sendable, Equatable {
  /// The model reads these positions of ``CollaborationSession/truth`` in one batch; it holds all
  /// before them. `wantsRow` asks for the logits that follow the last one.
  case ingest(CollaborationModel, Range<Int>, wantsRow: Bool)
  /// The next token is chosen from the latest logits of the writer.
  case choose(CollaborationWriter)
  case finish(FinishReason)
}

/// Time of passes, in units of a pass of the target model over one token.
package struct CollaborationCosts: Sendable, Equatable {
  /// By the number of tokens, relative to one.
  package var target: VerifyCosts
  package var draft: VerifyCosts
  /// A pass of the draft model over one token; the antiexpert is taken to be of the same size.
  package var draftUnit: Double

  package init(
    target: VerifyCosts = .assumed, draft: VerifyCosts = .assumed, draftUnit: Double
  ) {
    precondition(draftUnit >= 0 && draftUnit < .infinity, "a draft pass costs \(draftUnit)")
    self.target = target
    self.draft = draft
    self.draftUnit = draftUnit
  }

  func cost(_ model: CollaborationModel, tokenCount: Int) -> Double {
    switch model {
    case .target: Double(target.cost(tokenCount))
    case .draft, .antiexpert: Double(draft.cost(tokenCount)) * draftUnit
    }
  }
}

/// Counters of one collaboration.
package struct CollaborationStatistics: Sendable, Equatable {
  /// Tokens by whose logits they were chosen from.
  package private(set) var draftCount = 0
  package private(set) var targetCount = 0
  package private(set) var combinedCount = 0
  /// Tokens with another writer than the one before.
  package private(set) var switchCount = 0
  /// Batches of the target model, and their tokens; the prompt's included.
  package private(set) var targetPassCount = 0
  package private(set) var targetIngestedCount = 0
  /// Time of all passes by ``CollaborationCosts``, and of the target alone for the same tokens.
  package private(set) var spentCost = 0.0
  package private(set) var plainCost = 0.0
  private var lastWriter: CollaborationWriter?

  package init() {}

  package var tokenCount: Int { draftCount + targetCount + combinedCount }

  /// Share of the tokens of this writer; `nil` before the first token.
  package func share(_ writer: CollaborationWriter) -> Double? {
    guard tokenCount > 0 else { return nil }
    let count =
      switch writer {
      case .draft: draftCount
      case .target: targetCount
      case .combined: combinedCount
      }
    return Double(count) / Double(tokenCount)
  }

  /// Estimated share of the target's time that was saved, catching up included; below 0 where the
  /// collaboration took longer than the target alone would have. `nil` before the first token.
  package var computeSaved: Double? {
    plainCost > 0 ? 1 - spentCost / plainCost : nil
  }

  mutating func countPass(
    _ model: CollaborationModel, tokenCount: Int, costs: CollaborationCosts
  ) {
    spentCost += costs.cost(model, tokenCount: tokenCount)
    guard model == .target else { return }
    targetPassCount += 1
    targetIngestedCount += tokenCount
  }

  /// The target alone reads the prompt, then every token but the last.
  mutating func countToken(
    _ writer: CollaborationWriter, promptCount: Int, costs: CollaborationCosts
  ) {
    plainCost += costs.cost(.target, tokenCount: tokenCount == 0 ? promptCount : 1)
    switch writer {
    case .draft: draftCount += 1
    case .target: targetCount += 1
    case .combined: combinedCount += 1
    }
    if let lastWriter, lastWriter != writer { switchCount += 1 }
    lastWriter = writer
  }
}
