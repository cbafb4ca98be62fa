package import InferenceTypes

/// What a worker says of itself when it registers.
package struct WorkerRegistration: Sendable, Equatable {
  package enum Role: Sendable, CaseIterable {
    case drafter
    case verifier
  }

  package var role: Role
  /// Unique among the workers of one role.
  package var name: String
  /// Random name of the worker's process.
  package var epoch: UInt64
  package var modelFingerprint: [UInt8]
  package var tokenizerFingerprint: [UInt8]
  package var vocabularyCount: Int
  /// Tokens.
  package var contextLength: Int
  /// Sessions at a time.
  package var slotCount: Int
  /// Where drafters dial this verifier; empty where there is no such place.
  package var endpoint = ""
  /// Whether this drafter can take part in collaborations.
  package var hasDraftModel = false
  /// Sessions that a verifier takes, by the rule that judges their drafts.
  package var verifyRules: Set<VerifyRule> = [.gumbelMatch]

  package init(
    role: Role, name: String, epoch: UInt64, modelFingerprint: [UInt8],
    tokenizerFingerprint: [UInt8], vocabularyCount: Int, contextLength: Int, slotCount: Int
  ) {
    self.role = role
    self.name = name
    self.epoch = epoch
    self.modelFingerprint = modelFingerprint
    self.tokenizerFingerprint = tokenizerFingerprint
    self.vocabularyCount = vocabularyCount
    self.contextLength = contextLength
    self.slotCount = slotCount
  }

  var incarnation: WorkerIncarnation { WorkerIncarnation(name: name, epoch: epoch) }
}

/// One process that is or was a worker.
struct WorkerIncarnation: Hashable, Sendable {
  let name: String
  let epoch: UInt64
}

/// The model that workers must serve.
package struct ExpectedModel: Sendable, Equatable {
  package var modelFingerprint: [UInt8]
  package var tokenizerFingerprint: [UInt8]
  package var vocabularyCount: Int
  /// Tokens.
  package var contextLength: Int

  package init(
    modelFingerprint: [UInt8], tokenizerFingerprint: [UInt8], vocabularyCount: Int,
    contextLength: Int
  ) {
    self.modelFingerprint = modelFingerprint
    self.tokenizerFingerprint = tokenizerFingerprint
    self.vocabularyCount = vocabularyCount
    self.contextLength = contextLength
  }

  /// - Returns: why the worker cannot serve this model and what to do about it; `nil` where it can.
  func refusal(of worker: WorkerRegistration) -> (code: RegistrationRefusal, message: String)? {
    guard worker.tokenizerFingerprint == tokenizerFingerprint else {
      return (
        .tokenizersDiffer,
        "the tokenizer of \(worker.name) is not the router's; start it with a model of the same "
          + "family as the target"
      )
    }
    guard worker.vocabularyCount == vocabularyCount else {
      return (
        .tokenizersDiffer,
        "\(worker.name) has \(worker.vocabularyCount) tokens and the router \(vocabularyCount); "
          + "start it with a model of the same family as the target"
      )
    }
    guard worker.role == .verifier else { return nil }
    guard worker.modelFingerprint == modelFingerprint else {
      return (
        .modelsDiffer,
        "the model file of \(worker.name) is not the router's; start both with the same file"
      )
    }
    guard worker.contextLength >= contextLength else {
      return (
        .modelsDiffer,
        "\(worker.name) holds \(worker.contextLength) tokens and the router promises "
          + "\(contextLength); start both with the same context length"
      )
    }
    return nil
  }
}

/// Why a worker was not registered.
package enum RegistrationRefusal: Sendable, CaseIterable {
  case modelsDiffer
  case tokenizersDiffer
  case tooManyWorkers
  /// Another worker of this name registered later.
  case nameTaken
}

/// Cancels of a session that a verifier has not answered yet.
struct Closing: Sendable, Equatable {
  /// The session is not given to this verifier again before.
  var until: Duration
  var isOverdue = false
  var count = 1
}

/// A registered worker in the books of the router.
struct RoutedWorker: Sendable, Equatable {
  let registration: WorkerRegistration
  /// Rises with every registration.
  let order: Int
  var lastHeard: Duration
  var isDraining = false
  /// Sessions that take a slot here.
  var sessions: Set<SessionID> = []
  /// Sessions that were cancelled here. What comes before the answer belongs to the past, but for a
  /// session that was given to this worker again because the answer took too long.
  var closing: [SessionID: Closing] = [:]
  /// Epochs of workers that this one pushed out.
  var displacedEpochs: [UInt64] = []

  var hasFreeSlot: Bool { sessions.count < registration.slotCount }
}
