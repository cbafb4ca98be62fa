import Cluster
import TestSupport
import Testing

@Suite struct PrometheusTextTests {
  @Test func aFamilyHasItsHelpItsTypeAndItsValues() throws {
    var requests = MetricFamily("a_requests_total", .counter, "What\ncame \\ went.")
    requests.add(3, MetricFamily.Label("outcome", "st\"o\\p\n"))
    requests.add(1e18, MetricFamily.Label("a", "b"), MetricFamily.Label("c", ""))
    var time = MetricFamily("a_pass_seconds", .gauge, "Time.")
    time.add(0.25)
    time.add(1e-7, MetricFamily.Label("tokens", "8"))
    let empty = MetricFamily("a_none_total", .counter, "Nothing.")
    let text = PrometheusText.render([requests, empty, time])
    #expect(
      text == #"""
        # HELP a_requests_total What\ncame \\ went.
        # TYPE a_requests_total counter
        a_requests_total{outcome="st\"o\\p\n"} 3
        a_requests_total{a="b",c=""} 1000000000000000000
        # HELP a_pass_seconds Time.
        # TYPE a_pass_seconds gauge
        a_pass_seconds 0.25
        a_pass_seconds{tokens="8"} 1e-07

        """#)
    let parsed = try ParsedMetrics(text)
    #expect(parsed["a_pass_seconds"] == 0.25)
    #expect(parsed.sum("a_requests_total") == 1e18 + 3)
    #expect(parsed.types == ["a_requests_total": "counter", "a_pass_seconds": "gauge"])
  }

  @Test func numbersThatAreNoneAreSaid() {
    var odd = MetricFamily("a", .gauge, "h")
    for value in [Double.infinity, -.infinity, .nan] { odd.add(value) }
    #expect(PrometheusText.render([odd]).hasSuffix("a +Inf\na -Inf\na NaN\n"))
  }

  @Test(arguments: ["a 1\n", "# TYPE a gauge\na 1\n", "# HELP a b\n# TYPE a counter\na 1\n", "x"])
  func theParserOfTheTestsIsStrict(text: String) {
    #expect(throws: ParsedMetrics.Malformed.self) { try ParsedMetrics(text) }
  }
}
