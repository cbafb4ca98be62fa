import Testing
import Transport

@Suite struct EndpointRuleTests {
  @Test(arguments: [
    "tcp://127.0.0.1:5000", "tcp://127.0.0.1:*", "tcp://127.255.255.255:0", "tcp://127.1.2.3:65535",
    "tcp://[::1]:80", "ipc:///run/slipstream/router", "ipc://@abstract",
  ])
  func loopbackMayBeBound(_ endpoint: String) throws {
    #expect(EndpointRule.isLoopback(endpoint))
    try EndpointRule.checkBinding(endpoint, allowsPlaintextOffLoopback: false)
  }

  @Test(arguments: [
    "tcp://0.0.0.0:5000", "tcp://*:5000", "tcp://192.168.1.1:5000", "tcp://128.0.0.1:1",
    "tcp://localhost:5000", "tcp://127.0.0.1.example.org:5000", "tcp://[::]:5000",
    "tcp://[fe80::1]:5000", "tcp://[::ffff:127.0.0.1]:5000", "tcp://127.1:5000",
    "tcp://127.0.0.256:1", "tcp://127.0.0.01:1", "tcp://eth0:5000",
  ])
  func everythingElseNeedsTheFlag(_ endpoint: String) throws {
    #expect(!EndpointRule.isLoopback(endpoint))
    #expect(throws: TransportError.plaintextOffLoopback(endpoint)) {
      try EndpointRule.checkBinding(endpoint, allowsPlaintextOffLoopback: false)
    }
    try EndpointRule.checkBinding(endpoint, allowsPlaintextOffLoopback: true)
  }

  @Test(arguments: [
    "", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:-1", "tcp://127.0.0.1:+1", "tcp://:80", "tcp://[::1:80", "tcp://::1]:80",
    "tcp://[]:80", "tcp://a b:80", "tcp://a;b:80", "tcp://ä:80", "udp://127.0.0.1:80",
    "inproc://zeromq.zap.01", "ipc://", "127.0.0.1:80", "tcp://127.0.0.1:80/x", "tcp://a/b:80",
    "ipc://" + String(repeating: "p", count: 108), "tcp://127.0.0.1:\u{0}80",
  ])
  func malformedEndpointsAreNamed(_ endpoint: String) {
    #expect(throws: TransportError.invalidEndpoint(endpoint)) {
      try EndpointRule.checkBinding(endpoint, allowsPlaintextOffLoopback: true)
    }
    #expect(throws: TransportError.invalidEndpoint(endpoint)) {
      try EndpointRule.checkDialling(endpoint)
    }
  }

  @Test(arguments: ["tcp://*:80", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
  func wildcardsCannotBeDialled(_ endpoint: String) throws {
    try EndpointRule.checkBinding(endpoint, allowsPlaintextOffLoopback: true)
    #expect(throws: TransportError.invalidEndpoint(endpoint)) {
      try EndpointRule.checkDialling(endpoint)
    }
  }

  @Test func namesCanBeDialled() throws {
    try EndpointRule.checkDialling("tcp://verifier-0.example.org:7000")
    try EndpointRule.checkDialling("tcp://[fe80::1]:7000")
  }

  @Test func refusalNamesTheFlag() {
    let error = TransportError.plaintextOffLoopback("tcp://*:1")
    #expect(error.description.contains("--insecure-plaintext"))
  }
}
