package import InferenceTypes

/// What a worker does.
package enum WorkerRole: UInt32, Sendable, CaseIterable {
  case drafter = 1
  case verifier = 2
}

/// Random name of one process start, never 0: tells a restarted worker from the one before it.
package struct InstanceEpoch: RawRepresentable, Hashable, Sendable {
  package var rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A 256-bit hash of a model's weights or of a tokenizer.
package struct Fingerprint: Hashable, Sendable {
  package static let byteCount = 32

  package let bytes: [UInt8]

  /// - Returns: `nil` unless there are exactly ``byteCount`` bytes.
  package init?(bytes: [UInt8]) {
    guard bytes.count == Self.byteCount else { return nil }
    self.bytes = bytes
  }
}

/// First message of a worker on every connection.
///
/// Durations travel as whole nanoseconds, names as printable ASCII without spaces.
package struct Register: Sendable, Equatable {
  package var role: WorkerRole
  /// 1 to ``Limits/nameLengthMax`` characters.
  package var name: String
  package var epoch: InstanceEpoch
  /// 1 to ``Limits/modelIDLengthMax`` characters.
  package var modelID: String
  package var modelFingerprint: Fingerprint
  package var tokenizerFingerprint: Fingerprint
  package var vocabularyCount: Int
  /// Tokens.
  package var contextLength: Int
  /// Sessions at a time.
  package var slotCount: Int
  /// Where drafters dial this verifier; empty where there is no such place.
  package var dataEndpoint = ""
  package var draftMethods: [String] = []
  /// Time to draft one token; zero where unknown.
  package var draftDuration = Duration.zero
  /// Time of a step of 1, 2, … columns over that of one column.
  package var relativeVerifyCosts: [Float] = []
  /// Time of a step of one column; zero where unknown.
  package var verifyDuration = Duration.zero
  /// Sessions that a verifier takes, by the rule that judges their drafts; never empty.
  package var verifyRules: Set<VerifyRule> = [.gumbelMatch]

  package init(
    role: WorkerRole, name: String, epoch: InstanceEpoch, modelID: String,
    modelFingerprint: Fingerprint, tokenizerFingerprint: Fingerprint, vocabularyCount: Int,
    contextLength: Int, slotCount: Int
  ) {
    self.role = role
    self.name = name
    self.epoch = epoch
    self.modelID = modelID
    self.modelFingerprint = modelFingerprint
    self.tokenizerFingerprint = tokenizerFingerprint
    self.vocabularyCount = vocabularyCount
    self.contextLength = contextLength
    self.slotCount = slotCount
  }
}

/// Answer to ``Register``.
package enum Registered: Sendable, Equatable {
  /// `heartbeatInterval` is whole milliseconds; `epoch` names the process that answers.
  case accepted(heartbeatInterval: Duration, epoch: InstanceEpoch)
  case refused(Refusal)
}

/// Sign of life. A heartbeat echoes the last one that came the other way, so that each side
/// measures the round trip on its own clock: now − ``echoNanoseconds`` − ``echoDelay``.
package struct Heartbeat: Sendable, Equatable {
  package var sequence: UInt64
  package var activeSessionCount: Int
  /// The sender's own clock when it sent this, never 0.
  package var sentAtNanoseconds: UInt64
  /// ``sentAtNanoseconds`` of the last heartbeat that came in; 0 before the first.
  package var echoNanoseconds: UInt64 = 0
  /// How long that heartbeat was held before this one left.
  package var echoDelay = Duration.zero
  /// The sender takes no new sessions.
  package var isDraining = false
  /// Of this link, as the sender measured it; zero where unknown.
  package var roundTrip = Duration.zero
  /// What the sender did since it began, where it tells.
  package var totals: WorkerTotals?

  package init(sequence: UInt64, activeSessionCount: Int, sentAtNanoseconds: UInt64) {
    self.sequence = sequence
    self.activeSessionCount = activeSessionCount
    self.sentAtNanoseconds = sentAtNanoseconds
  }
}

/// Why something was refused or ended in failure.
package enum RefusalCode: UInt32, Sendable, CaseIterable {
  case versionsDiffer = 1
  case modelsDiffer = 2
  case tokenizersDiffer = 3
  case tooManyWorkers = 4
  case nameTaken = 5
  case tooManySessions = 6
  case unknownSession = 7
  case notAssigned = 8
  case promptTooLong = 9
  case invalidMessage = 10
  case unexpectedMessage = 11
  case draining = 12
  case `internal` = 13
  case ruleNotAllowed = 40

  /// Whether the same request may succeed later or at another worker.
  package var isRetryable: Bool {
    switch self {
    case .tooManyWorkers, .nameTaken, .tooManySessions, .draining, .notAssigned, .internal: true
    case .versionsDiffer, .modelsDiffer, .tokenizersDiffer, .unknownSession, .promptTooLong,
      .invalidMessage, .unexpectedMessage, .ruleNotAllowed:
      false
    }
  }
}

/// A code, and one sentence of at most ``Limits/textBytesMax`` bytes for people.
package struct Refusal: Sendable, Equatable {
  package var code: RefusalCode
  package var message: String

  package init(code: RefusalCode, message: String) {
    self.code = code
    self.message = message
  }
}

/// A message was refused. Never sent in answer to a `Reject`.
package struct Reject: Sendable, Equatable {
  package var refusal: Refusal
  /// ``WireMessage/type`` of what was refused; 0 where it is unknown.
  package var messageType: UInt32

  package init(refusal: Refusal, messageType: UInt32) {
    self.refusal = refusal
    self.messageType = messageType
  }
}
