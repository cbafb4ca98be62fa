import ArgumentParser
import Benchmarks
import InferenceTypes
import Tokenizer

/// Where the questions of a benchmark come from.
struct PromptOptions: ParsableArguments {
  @Option(help: "JSON lines with \"id\", \"category\" and \"turns\"; the first turn is asked.")
  var prompts: String?

  @Option(
    parsing: .unconditional,
    help: "In place of --prompts: so many questions of random words, which nobody can guess.")
  var randomPrompts: Int?

  func validate() throws {
    guard (prompts == nil) != (randomPrompts == nil) else {
      throw ValidationError("name the questions by either --prompts FILE or --random-prompts N")
    }
    if let randomPrompts, !(1...100_000).contains(randomPrompts) {
      throw ValidationError("--random-prompts \(randomPrompts): expected 1 to 100000")
    }
  }

  /// The questions through the chat template.
  ///
  /// - Throws: ``CommandFailure`` where there are none, or the file is not as it should be.
  func load(
    template: ChatTemplate, tokenizer: BytePairTokenizer
  ) throws -> [DecodeBenchmark.Prompt] {
    if let prompts {
      let all = try PromptFile.load(prompts, template: template, tokenizer: tokenizer)
      guard !all.isEmpty else { throw CommandFailure(description: "\(prompts): no questions") }
      return all
    }
    let texts = RandomPrompts.texts(count: randomPrompts ?? 0, tokenizer: tokenizer)
    guard !texts.isEmpty else {
      throw CommandFailure(
        description: "--random-prompts: the vocabulary has no words of small letters a to z")
    }
    return try texts.enumerated().map { index, text in
      DecodeBenchmark.Prompt(
        id: index + 1, category: "random words",
        tokens: try template.encode(
          [ChatMessage(role: "user", content: text)], tokenizer: tokenizer))
    }
  }
}
