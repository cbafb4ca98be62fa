import Cluster
import Decoding
import Testing

@Suite struct DraftMethodsTests {
  @Test func everyNamedMethodCanBeUsedAlone() throws {
    for name in DraftMethods.names where name != "none" && name != "auto" {
      let methods = try DraftMethods(parsing: name, hasDraftModel: true)
      #expect(methods.list == [name])
      #expect(methods.usesModel == ["draft", "draft-chain"].contains(name))
      #expect(methods.sources.isEmpty == ["draft", "draft-chain", "skip"].contains(name))
    }
    #expect(try DraftMethods(parsing: "none", hasDraftModel: true).list == ["none"])
  }

  @Test func listsJoin() throws {
    let methods = try DraftMethods(parsing: "suffix,copy,draft", hasDraftModel: true)
    #expect(methods.sources == [.suffix, .copy])
    #expect(methods.list == ["draft", "copy", "suffix"])
  }

  @Test func autoTakesADraftModelWhereThereIsOne() throws {
    let without = try DraftMethods(parsing: "auto", hasDraftModel: false)
    #expect(without.list == ["recycle", "prediction"])
    #expect(try DraftMethods(parsing: "auto", hasDraftModel: true).usesModel)
  }

  @Test func wrongListsAreRefused() {
    #expect(throws: DraftMethodError.unknown("sufix", supported: DraftMethods.names)) {
      try DraftMethods(parsing: "copy,sufix", hasDraftModel: false)
    }
    #expect(throws: DraftMethodError.noneWithOthers("none,copy")) {
      try DraftMethods(parsing: "none,copy", hasDraftModel: false)
    }
    #expect(throws: DraftMethodError.noDraftModel("draft")) {
      try DraftMethods(parsing: "draft", hasDraftModel: false)
    }
    #expect(throws: DraftMethodError.unknown("", supported: DraftMethods.names)) {
      try DraftMethods(parsing: "copy,", hasDraftModel: false)
    }
  }
}
