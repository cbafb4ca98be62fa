import HTTPAPI
import InferenceTypes
import NIOCore
import Testing

/// A small generator with a seed (xorshift64*).
private struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

@Suite(.timeLimit(.minutes(2)))
struct FuzzTests {
  private static let seeds = [
    #"{"model":"toy/model","messages":[{"role":"user","content":"Hé \ud83d\ude00"}],"n":1}"#,
    #"{"prompt":[[1,2,3]],"temperature":0.5,"top_p":0.9,"stop":["a"],"logit_bias":{"1":-1.5e1}}"#,
    #"{"prompt":"x","messages":[{"role":"system","content":[{"type":"text","text":"t"}]}],"#
      + #""stream":true,"stream_options":{"include_usage":true},"seed":-9223372036854775808}"#,
    #"{"content":"x","tokens":[1,299,0],"max_tokens":9223372036854775807,"top_k":1e2}"#,
  ]

  /// One to four bytes are changed, removed, added or repeated.
  private static func mutation(_ text: String, _ generator: inout SeededGenerator) -> [UInt8] {
    var bytes = Array(text.utf8)
    let alphabet = Array("{}[]\",:\\u0019.eE+-tfn \n\0\u{7F}".utf8) + [0xFF, 0xC3]
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes[place] = alphabet.randomElement(using: &generator) ?? 0
      case 1 where bytes.count > 1: bytes.remove(at: place)
      case 2: bytes.insert(alphabet.randomElement(using: &generator) ?? 0, at: place)
      default:
        let end = Int.random(in: place..<bytes.count, using: &generator)
        bytes.insert(contentsOf: bytes[place...end], at: place)
      }
    }
    return bytes
  }

  @Test func noBodyMakesTheServerFail() async throws {
    let paths = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"]
    var generator = SeededGenerator(state: 42)
    try await withServer(ScriptedService(saying: ["a"])) { port in
      var statuses: Set<Int> = []
      for index in 0..<500 {
        let body = Self.mutation(Self.seeds[index % Self.seeds.count], &generator)
        let path = paths.randomElement(using: &generator) ?? "/tokenize"
        let head =
          "POST \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
          + "Content-Length: \(body.count)\r\n\r\n"
        let answer = try await RawConnection(port: port).exchange(head) { input, output in
          try await output.write(ByteBuffer(bytes: body))
          var bytes: [UInt8] = []
          while let buffer = try await input.next() { bytes += buffer.readableBytesView }
          return try Answer(String(decoding: bytes, as: UTF8.self))
        }
        #expect(answer.status < 500, "\(path) \(String(decoding: body, as: UTF8.self))")
        statuses.insert(answer.status)
      }
      // The mutations are neither all harmless nor all fatal.
      #expect(statuses.isSuperset(of: [200, 400]))
      #expect(try await send("GET", "/health", to: port).status == 200)
    }
  }

  @Test(arguments: [
    "garbage\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n",
    "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
  ])
  func whatIsNotHTTPIsRefusedAndTheServerLives(_ text: String) async throws {
    try await withServer(ScriptedService(saying: [])) { port in
      let answer = try await RawConnection(port: port).exchange(text) { input, _ in
        var answer = ""
        // Closing with unread bytes resets the connection: an answer may be lost then.
        while !answer.contains("\r\n\r\n"), let buffer = try? await input.next() {
          answer += String(buffer: buffer)
        }
        return answer
      }
      #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 4"))
      #expect(try await send("GET", "/health", to: port).status == 200)
    }
  }
}
