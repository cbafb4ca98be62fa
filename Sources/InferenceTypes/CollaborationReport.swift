/// Who wrote a text that is no model's own, and what that cost.
package struct CollaborationReport: Sendable, Equatable {
  package var method: CollaborationParameters.Method
  /// Tokens by whose logits they were chosen from.
  package var draftCount = 0
  package var targetCount = 0
  package var combinedCount = 0
  /// Tokens with another writer than the one before.
  package var switchCount = 0
  /// Time of all passes, in units of a pass of the target model over one token; an estimate.
  package var spentCost = 0.0
  /// The same of the target alone for the same tokens.
  package var plainCost = 0.0
  /// The draft model was lost, or never came, and the target went on alone.
  package var isDegraded = false

  package init(method: CollaborationParameters.Method) { self.method = method }

  /// Share of the tokens that were counted; 0 without any.
  package func share(of count: Int) -> Double {
    let total = draftCount + targetCount + combinedCount
    return total > 0 ? Double(count) / Double(total) : 0
  }

  /// Estimated share of the target's time that was saved; below 0 where it took longer.
  package var computeSaved: Double { plainCost > 0 ? 1 - spentCost / plainCost : 0 }

  /// Adds what another verifier counted for the rest of the same text.
  package static func += (total: inout CollaborationReport, part: CollaborationReport) {
    total.draftCount += part.draftCount
    total.targetCount += part.targetCount
    total.combinedCount += part.combinedCount
    total.switchCount += part.switchCount
    total.spentCost += part.spentCost
    total.plainCost += part.plainCost
    total.isDegraded = total.isDegraded || part.isDegraded
  }
}
