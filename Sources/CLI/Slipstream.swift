import ArgumentParser

/// The one executable: a subcommand for each role.
@main
struct Slipstream: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "slipstream",
    abstract: "Makes a large language model answer faster by letting other machines guess ahead.",
    version: "0.1.0",
    subcommands: [
      UpCommand.self, GenerateCommand.self, RunCommand.self, RouterCommand.self,
      VerifierCommand.self, DrafterCommand.self, BenchCommand.self, InspectCommand.self,
      TokenizeCommand.self, LogitsCommand.self, QuantizeCommand.self, WarmCommand.self,
      SimulateCommand.self,
    ])
}
