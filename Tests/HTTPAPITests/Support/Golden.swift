/// A body with id, time, seed and other drawn values replaced.
func withoutDrawnValues(_ body: String) -> String {
  body.replacing(/"id":"(chatcmpl|cmpl)-[0-9a-f]{24}"/) { "\"id\":\"\($0.output.1)-X\"" }
    .replacing(/"created":[0-9]+/, with: "\"created\":0")
    .replacing(/"system_fingerprint":"fp_[0-9a-f]+"/, with: "\"system_fingerprint\":\"fp_X\"")
}

/// `timings` of ``GenerationSummary/sample``.
let timingsJSON = """
  "timings":{"cache_n":2,"prompt_n":5,"prompt_ms":10.0,"prompt_per_token_ms":2.0,\
  "prompt_per_second":500.0,"predicted_n":4,"predicted_ms":8.0,"predicted_per_token_ms":2.0,\
  "predicted_per_second":500.0,"verify_n":2,"draft_n":3,"draft_n_accepted":2}
  """

/// `usage` with these counts.
func usageJSON(prompt: Int, completion: Int, cached: Int) -> String {
  """
  "usage":{"prompt_tokens":\(prompt),"completion_tokens":\(completion),\
  "total_tokens":\(prompt + completion),"prompt_tokens_details":{"cached_tokens":\(cached)},\
  "completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,\
  "rejected_prediction_tokens":0}}
  """
}
