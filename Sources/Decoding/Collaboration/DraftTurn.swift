package import InferenceTypes

extension CollaborationParameters {
  /// Whether the target model, or the logits of both, come in at a token that the draft model would
  /// choose from this distribution.
  package func intervenes(_ row: RowSummary) -> Bool {
    let threshold = Double(interventionThreshold)
    return switch intervention {
    case .always: true
    case .probability: row.maxProbability < threshold
    case .gap: row.gap < threshold
    }
  }
}

/// How far a draft model on another machine writes on by itself, so that one round trip covers
/// several tokens.
///
/// It stops where a ``CollaborationSession`` with the same parameters would want another writer; with
/// ``CollaborationParameters/Method/leading``, which depends on a text that is not known here, only
/// at its limit. The session has the last word: what it does not want is thrown away.
package struct DraftTurn: Sendable, Equatable {
  private let parameters: CollaborationParameters
  private let burstMax: Int
  private var entropySwitch: EntropySwitch
  /// Of the distribution behind the latest token.
  private var row: RowSummary?
  package private(set) var tokenCount = 0

  /// - Parameters:
  ///   - parameters: of the session, valid.
  ///   - burstMax: most tokens.
  ///   - entropies: ``EntropySwitch/entropies`` of the session; empty before its first token.
  ///   - stay: ``EntropySwitch/stay`` of the session.
  package init(
    _ parameters: CollaborationParameters, burstMax: Int, entropies: [Double], stay: Int
  ) {
    self.parameters = parameters
    self.burstMax = burstMax
    entropySwitch = EntropySwitch(parameters, entropies: entropies, stay: stay)
  }

  /// Takes the next distribution.
  ///
  /// - Returns: whether the draft model chooses a token from it.
  package mutating func wants(_ row: RowSummary) -> Bool {
    if parameters.method == .entropy, entropySwitch.entropies.isEmpty, entropySwitch.stay == 0 {
      entropySwitch.begin(entropy: row.entropy)
    }
    self.row = row
    guard tokenCount < burstMax else { return false }
    return switch parameters.method {
    case .entropy: !entropySwitch.writesTarget
    case .leading: true
    case .oracle: !parameters.intervenes(row)
    case .contrastive, .proxy: false
    }
  }

  /// Counts a token that was chosen from the latest distribution.
  ///
  /// - Returns: whether the distribution behind it may be of use.
  package mutating func count() -> Bool {
    guard let row else { preconditionFailure("a token without a distribution") }
    tokenCount += 1
    if parameters.method == .entropy { entropySwitch.observe(entropy: row.entropy) }
    return tokenCount < burstMax && !(parameters.method == .entropy && entropySwitch.writesTarget)
  }
}

/// What a draft model has said ahead of a session: its tokens, and the distributions they were chosen
/// from.
package struct DraftBurst: Sendable, Equatable {
  /// Position of the first distribution.
  private var position: Int
  private var rows: [RowSummary]
  private var tokens: [TokenID]

  /// - Parameters:
  ///   - position: of the first token.
  ///   - rows: as many as tokens, or one more.
  ///   - tokens: each chosen from the row of the same index.
  package init(position: Int, rows: [RowSummary], tokens: [TokenID]) {
    precondition(
      tokens.count == rows.count || tokens.count + 1 == rows.count,
      "\(tokens.count) tokens of \(rows.count) rows")
    self.position = position
    self.rows = rows
    self.tokens = tokens
  }

  /// The distribution of the token at `position`, where it is known and `truth`, which is all before
  /// that position, is the text that the draft model went on from.
  package func row(at position: Int, of truth: [TokenID]) -> RowSummary? {
    let index = position - self.position
    guard index >= 0, index < rows.count, truth.count == position,
      truth[self.position...].elementsEqual(tokens[..<index])
    else { return nil }
    return rows[index]
  }

  /// The draft model's choice at `position`; `nil` where it made none.
  package func token(at position: Int) -> TokenID? {
    let index = position - self.position
    return tokens.indices.contains(index) ? tokens[index] : nil
  }
}
