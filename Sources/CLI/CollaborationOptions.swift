import ArgumentParser
import InferenceTypes

/// Whether the text is the target model's own.
enum RunMode: String, ExpressibleByArgument, CaseIterable {
  case exact
  case collaborative
}

extension CollaborationParameters.Method: ExpressibleByArgument {}
extension CollaborationParameters.Intervention: ExpressibleByArgument {}

/// How two models write one text.
struct CollaborationOptions: ParsableArguments {
  @Option(
    help: """
      Who writes: entropy, leading, contrastive, proxy or oracle. The text is then not the target \
      model's own.
      """)
  var collaboration: CollaborationParameters.Method?

  @Option(
    parsing: .unconditional,
    help: "Bits of mean entropy from which the target model writes; inf: never.")
  var entropyThreshold: Float?
  @Option(
    parsing: .unconditional,
    help: "Bits below the threshold from which the draft model writes again.")
  var entropyHysteresis: Float?
  @Option(parsing: .unconditional, help: "Tokens that the mean entropy is of.")
  var entropyWindow: Int?
  @Option(parsing: .unconditional, help: "Tokens that the draft model writes at least at a time.")
  var draftStay: Int?
  @Option(parsing: .unconditional, help: "Tokens that the target model writes at least at a time.")
  var targetStay: Int?

  @Option(
    parsing: .unconditional,
    help: "leading: tokens of each led sentence that the target model writes.")
  var leadingTokens: Int?
  @Option(parsing: .unconditional, help: "leading: probability that a sentence is led.")
  var leadProbability: Float?
  @Option(
    parsing: .unconditional, help: "leading: sentences at the beginning that are led in any case.")
  var ledSentences: Int?

  @Option(
    parsing: .unconditional, help: "contrastive: least share of the target's largest probability.")
  var plausibility: Float?
  @Option(
    parsing: .unconditional,
    help: "contrastive: 1 is the target model alone, more goes away from the draft model.")
  var contrast: Float?
  @Option(parsing: .unconditional, help: "proxy: weight of what tuning changed.")
  var tuningStrength: Float?
  @Option(help: "proxy: the small model before tuning; -md names the tuned one.")
  var antiexpert: String?

  @Option(help: "contrastive, proxy, oracle: always, probability or gap of the draft model.")
  var intervention: CollaborationParameters.Intervention?
  @Option(parsing: .unconditional, help: "The target model comes in strictly below it.")
  var interventionThreshold: Float?

  /// The parameters, `method` where none is named.
  func parameters(
    method: CollaborationParameters.Method = .entropy
  ) -> CollaborationParameters {
    var parameters = CollaborationParameters(method: collaboration ?? method)
    func set<Value>(
      _ path: WritableKeyPath<CollaborationParameters, Value>, _ value: Value?
    ) {
      if let value { parameters[keyPath: path] = value }
    }
    set(\.entropyThreshold, entropyThreshold)
    set(\.entropyHysteresis, entropyHysteresis)
    set(\.entropyWindow, entropyWindow)
    set(\.draftStay, draftStay)
    set(\.targetStay, targetStay)
    set(\.leadingTokens, leadingTokens)
    set(\.leadProbability, leadProbability)
    set(\.ledSentences, ledSentences)
    set(\.plausibility, plausibility)
    set(\.contrast, contrast)
    set(\.tuningStrength, tuningStrength)
    set(\.intervention, intervention)
    set(\.interventionThreshold, interventionThreshold)
    return parameters
  }

  /// Whether anything but the defaults is asked for.
  var isUsed: Bool {
    let numbers: [Any?] = [
      collaboration, entropyThreshold, entropyHysteresis, entropyWindow, draftStay, targetStay,
      leadingTokens, leadProbability, ledSentences, plausibility, contrast, tuningStrength,
      antiexpert, intervention, interventionThreshold,
    ]
    return numbers.contains { $0 != nil }
  }
}
