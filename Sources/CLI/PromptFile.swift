import Benchmarks
import Foundation
import InferenceTypes
import Tokenizer

/// The questions of a benchmark: JSON lines with "id", "category" and "turns".
enum PromptFile {
  /// The first turn of every line, through the chat template.
  /// - Throws: ``CommandFailure``, which names the file and the line at fault.
  static func load(
    _ path: String, template: ChatTemplate, tokenizer: BytePairTokenizer
  ) throws -> [DecodeBenchmark.Prompt] {
    struct Line: Decodable {
      let id: Int?
      let category: String?
      let turns: [String]
    }
    let text: String
    do { text = try String(contentsOf: URL(filePath: path), encoding: .utf8) } catch {
      throw CommandFailure(description: "\(path): \(error.localizedDescription)")
    }
    var all: [DecodeBenchmark.Prompt] = []
    for (number, line) in text.split(separator: "\n").enumerated() {
      guard let parsed = try? JSONDecoder().decode(Line.self, from: Data(line.utf8)),
        let turn = parsed.turns.first
      else {
        throw CommandFailure(
          description: "\(path), line \(number + 1): expected an object with \"turns\"")
      }
      let tokens = try template.encode(
        [ChatMessage(role: "user", content: turn)], tokenizer: tokenizer)
      all.append(
        DecodeBenchmark.Prompt(
          id: parsed.id ?? number + 1, category: parsed.category ?? "none", tokens: tokens))
    }
    return all
  }
}
