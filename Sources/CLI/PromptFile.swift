import Benchmarks
import Foundation
import InferenceTypes
import Tokenizer

/// The questions of a benchmark: JSON lines with "id", "category" and "turns".
enum PromptFile {
  /// The first turn of a line.
  struct Question {
    let id: Int
    let category: String
    let text: String
  }

  /// The first turn of every line.
  /// - Throws: ``CommandFailure``, which names the file and the line at fault.
  static func questions(_ path: String) throws -> [Question] {
    struct Line: Decodable {
      let id: Int?
      let category: String?
      let turns: [String]
    }
    let text: String
    do { text = try String(contentsOf: URL(filePath: path), encoding: .utf8) } catch {
      throw CommandFailure(description: "\(path): \(error.localizedDescription)")
    }
    return try text.split(separator: "\n").enumerated().map { number, line in
      guard let parsed = try? JSONDecoder().decode(Line.self, from: Data(line.utf8)),
        let turn = parsed.turns.first
      else {
        throw CommandFailure(
          description: "\(path), line \(number + 1): expected an object with \"turns\"")
      }
      return Question(id: parsed.id ?? number + 1, category: parsed.category ?? "none", text: turn)
    }
  }

  /// The same through the chat template.
  /// - Throws: ``CommandFailure``, which names the file and the line at fault.
  static func load(
    _ path: String, template: ChatTemplate, tokenizer: BytePairTokenizer
  ) throws -> [DecodeBenchmark.Prompt] {
    try questions(path).map { question in
      DecodeBenchmark.Prompt(
        id: question.id, category: question.category,
        tokens: try template.encode(
          [ChatMessage(role: "user", content: question.text)], tokenizer: tokenizer))
    }
  }
}
