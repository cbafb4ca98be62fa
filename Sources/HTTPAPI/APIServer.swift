package import Cluster
import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import ServiceLifecycle

/// The HTTP server of a router: OpenAI's completion endpoints with llama.cpp's extras.
package struct APIServer: Service {
  private let configuration: APIConfiguration
  private let responder: APIResponder
  private let logger: Logger
  private let onRunning: @Sendable (_ port: Int) async -> Void

  /// - Parameters:
  ///   - configuration: is checked here.
  ///   - service: answers the generations. Its `generate` returns at once: whether the client is
  ///     still there is watched from then on.
  ///   - codec: makes prompts of texts and messages.
  ///   - logger: gets failures of the server, never texts.
  ///   - onRunning: is called once with the bound port when connections are accepted.
  /// - Throws: ``APIConfigurationError`` for a configuration that would be open to strangers.
  package init(
    configuration: APIConfiguration, service: any GenerationService, codec: any TextCodec,
    logger: Logger, onRunning: @escaping @Sendable (_ port: Int) async -> Void = { _ in }
  ) throws(APIConfigurationError) {
    try configuration.validate()
    self.configuration = configuration
    responder = APIResponder(configuration: configuration, service: service, codec: codec)
    self.logger = logger
    self.onRunning = onRunning
  }

  /// Serves until a graceful shutdown or cancellation. After the former no connection is accepted
  /// and running responses have ``APIConfiguration/shutdownDuration`` to end.
  ///
  /// - Throws: the cause if the address cannot be bound.
  package func run() async throws {
    let port = configuration.port
    let application = Application(
      responder: responder,
      server: .http1(
        configuration: .init(
          idleTimeout: .nanoseconds(configuration.idleTimeout.wholeNanoseconds))),
      configuration: ApplicationConfiguration(
        address: .hostname(configuration.host, port: port),
        availableConnectionsDelegate: MaximumAvailableConnections(configuration.connectionLimit)),
      onServerRunning: { [onRunning] channel in
        await onRunning(channel.localAddress?.port ?? port)
      },
      logger: logger)
    // A client that does not read keeps its response, and with it a shutdown, alive for ever.
    var group = ServiceGroupConfiguration(services: [application], logger: logger)
    group.maximumGracefulShutdownDuration = configuration.shutdownDuration
    try await ServiceGroup(configuration: group).run()
  }
}

extension Duration {
  /// Rounded towards zero, within what fits.
  var wholeNanoseconds: Int64 { Int64(clamping: Int128(attoseconds) / 1_000_000_000) }
}
