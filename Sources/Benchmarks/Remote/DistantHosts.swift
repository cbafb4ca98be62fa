import CLinux
import CMeasure
import Glibc
import Synchronization
import Transport

/// Two hosts on this machine, far from each other: network namespaces, between which Ethernet frames
/// travel for half a round trip in either direction. They have no names and leave nothing behind.
package final class DistantHosts: Sendable {
  /// The hosts' addresses.
  package static let addresses = ["10.77.0.1", "10.77.0.2"]
  package let roundTrip: Duration
  private let hosts: [Int32]
  private let ports: [Int32]
  private let stop: Int32

  /// - Throws: ``RemoteFailure`` where this is not permitted here.
  package init(roundTrip: Duration) throws {
    self.roundTrip = roundTrip
    var hosts: [Int32] = []
    var ports: [Int32] = []
    for address in Self.addresses {
      var (host, port): (Int32, Int32) = (-1, -1)
      let status = unsafe cmeasure_host_create(address, &host, &port)
      guard status == 0 else {
        for descriptor in hosts + ports { close(descriptor) }
        throw RemoteFailure(
          "--rtt needs network namespaces, that is root and /dev/net/tun: \(Self.text(status))")
      }
      hosts.append(host)
      ports.append(port)
    }
    self.hosts = hosts
    self.ports = ports
    stop = csystem_eventfd_create()
    guard stop >= 0 else { throw RemoteFailure("no descriptor is left for the link") }
    let delay = UInt64(max(0, roundTrip / .nanoseconds(2)))
    _ = try PinnedThread(name: "link") { [ports, stop] in
      var link = cmeasure_link()
      link.ports = (ports[0], ports[1])
      link.stop = stop
      link.delay_ns = delay
      _ = unsafe cmeasure_link_run(&link)
      for descriptor in ports + [stop] { close(descriptor) }
    }
  }

  deinit {
    // The link closes what it uses.
    _ = csystem_eventfd_signal(stop)
    for host in hosts { close(host) }
  }

  /// Calls `body` on a thread that lives on a host: the processes that it starts live there too.
  package func run(on host: Int, _ body: @escaping @Sendable () -> Void) async throws {
    let outcome = Outcome()
    let thread = try PinnedThread(name: "host") { [hosts, outcome] in
      let before = cmeasure_host_enter(hosts[host])
      guard before >= 0 else {
        outcome.code.store(before, ordering: .relaxed)
        return
      }
      body()
      _ = cmeasure_host_leave(before)
    }
    await thread.join()
    let code = outcome.code.load(ordering: .relaxed)
    guard code == 0 else {
      throw RemoteFailure(
        "a network namespace cannot be entered: \(Self.text(code))")
    }
  }

  private static func text(_ status: Int32) -> String {
    unsafe String(cString: strerror(-status))
  }

  private final class Outcome: Sendable {
    let code = Atomic<Int32>(0)
  }
}
