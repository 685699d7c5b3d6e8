#include "compile.h"

#include <chrono>

#include "clang/AST/ASTConsumer.h"
#include "clang/AST/ASTContext.h"
#include "clang/Basic/Diagnostic.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/Basic/FileManager.h"
#include "clang/Basic/SourceManager.h"
#include "clang/Basic/TargetInfo.h"
#include "clang/CodeGen/ModuleBuilder.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/CompilerInvocation.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "clang/Lex/Preprocessor.h"
#include "clang/Parse/ParseAST.h"
#include "clang/Sema/Sema.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/VirtualFileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"

namespace phlox_plugin {

namespace {

constexpr const char* triple = "x86_64-unknown-linux-gnu";
constexpr const char* file_name = "kernel.c";  // diagnostics name kernels by #line

uint64_t now_ns() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

// The same meaning as the options of the spawned compiler: no contraction, wrapping integers, no aliasing by
// type.
std::vector<const char*> front_end_arguments(const phlox_plugin_request& r, std::string& width) {
  width = "-mprefer-vector-width=" + std::to_string(r.vector_bits);
  std::vector<const char*> a = {"-triple",
                                triple,
                                "-emit-obj",
                                "-O2",
                                "-x",
                                "c",
                                "-std=gnu17",
                                "-fgnuc-version=4.2.1",
                                "-ffreestanding",
                                "-ffp-contract=off",
                                "-fwrapv",
                                "-relaxed-aliasing",
                                "-fvisibility=hidden",
                                "-mrelocation-model",
                                "pic",
                                "-pic-level",
                                "2",
                                "-mframe-pointer=none",
                                "-ffunction-sections",
                                "-fdata-sections",
                                "-nostdsysteminc",
                                "-nobuiltininc",
                                "-disable-lifetime-markers",
                                "-w",
                                "-ferror-limit",
                                "20",
                                "-fbracket-depth",
                                "1024",
                                "-main-file-name",
                                file_name,
                                "-target-cpu",
                                r.cpu,
                                width.c_str()};
  for (uint64_t i = 0; i < r.feature_count; ++i) {
    a.push_back("-target-feature");
    a.push_back(r.features[i]);
  }
  a.push_back(file_name);
  return a;
}

// The front end with a file system that holds the kernel text and nothing else.
class FrontEnd {
 public:
  explicit FrontEnd(Compilation& c) : log_(c.log), files_(new llvm::vfs::InMemoryFileSystem) {
    const phlox_plugin_request& r = *c.request;
    files_->addFile(file_name, 0,
                    llvm::MemoryBuffer::getMemBufferCopy({r.source, size_t(r.source_bytes)}, file_name));
    llvm::IntrusiveRefCntPtr<clang::DiagnosticOptions> options(new clang::DiagnosticOptions);
    options->ShowColors = false;
    options->ShowCarets = true;
    options->ShowPresumedLoc = true;  // #line names the kernel
    printer_ = new clang::TextDiagnosticPrinter(log_, options.get());
    instance_.createDiagnostics(printer_, /*ShouldOwnClient=*/true);
    std::string width;
    const std::vector<const char*> arguments = front_end_arguments(r, width);
    good_ = clang::CompilerInvocation::CreateFromArgs(instance_.getInvocation(), arguments,
                                                      instance_.getDiagnostics());
    if (!good_) return;
    instance_.createFileManager(files_);
    instance_.createSourceManager(instance_.getFileManager());
    good_ = instance_.createTarget();
  }

  std::unique_ptr<llvm::Module> run(llvm::LLVMContext& context) {
    if (!good_ || !instance_.InitializeSourceManager(instance_.getFrontendOpts().Inputs[0])) return nullptr;
    instance_.createPreprocessor(clang::TU_Complete);
    clang::Preprocessor& preprocessor = instance_.getPreprocessor();
    preprocessor.getBuiltinInfo().initializeBuiltins(preprocessor.getIdentifierTable(),
                                                     instance_.getLangOpts());
    instance_.createASTContext();
    clang::CodeGenerator* const generator = clang::CreateLLVMCodeGen(
        instance_.getDiagnostics(), file_name, files_, instance_.getHeaderSearchOpts(),
        instance_.getPreprocessorOpts(), instance_.getCodeGenOpts(), context);
    instance_.setASTConsumer(std::unique_ptr<clang::ASTConsumer>(generator));
    generator->Initialize(instance_.getASTContext());
    instance_.createSema(clang::TU_Complete, nullptr);
    printer_->BeginSourceFile(instance_.getLangOpts(), &preprocessor);
    clang::ParseAST(instance_.getSema());
    printer_->EndSourceFile();
    if (instance_.getDiagnostics().hasErrorOccurred()) return nullptr;
    return std::unique_ptr<llvm::Module>(generator->ReleaseModule());
  }

  const clang::TargetOptions& target_options() { return instance_.getTarget().getTargetOpts(); }

 private:
  llvm::raw_string_ostream log_;
  llvm::IntrusiveRefCntPtr<llvm::vfs::InMemoryFileSystem> files_;
  clang::TextDiagnosticPrinter* printer_ = nullptr;
  clang::CompilerInstance instance_;
  bool good_ = false;
};

std::unique_ptr<llvm::TargetMachine> target_machine(const clang::TargetOptions& target, std::string& log) {
  const llvm::Target* const found = llvm::TargetRegistry::lookupTarget(triple, log);
  if (!found) return nullptr;
  std::string features;
  for (const std::string& f : target.Features) features += (features.empty() ? "" : ",") + f;
  llvm::TargetOptions options;
  options.NoTrappingFPMath = true;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;  // only what the text itself fuses
  options.FunctionSections = true;
  options.DataSections = true;
  return std::unique_ptr<llvm::TargetMachine>(
      found->createTargetMachine(triple, target.CPU, features, options, llvm::Reloc::PIC_,
                                 llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
}

}  // namespace

void initialise_llvm() {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeX86AsmParser();  // for asm statements
}

bool compile(Compilation& c) {
  const uint64_t start = now_ns();
  llvm::LLVMContext context;
  bool failed = false;
  struct Sink {
    std::string& log;
    bool& failed;
  } sink{c.log, failed};
  context.setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo* info, void* p) {
        if (info->getSeverity() != llvm::DS_Error) return;
        auto& s = *static_cast<Sink*>(p);
        llvm::raw_string_ostream out(s.log);
        llvm::DiagnosticPrinterRawOStream printer(out);
        info->print(printer);
        out << "\n";
        s.failed = true;
      },
      &sink);
  FrontEnd front(c);
  const std::unique_ptr<llvm::Module> module = front.run(context);
  const uint64_t parsed = now_ns();
  c.parse_ns = parsed - start;
  if (!module) return false;
  const std::unique_ptr<llvm::TargetMachine> machine = target_machine(front.target_options(), c.log);
  if (!machine) return false;
  module->setDataLayout(machine->createDataLayout());
  run_passes(*module, *machine);
  const uint64_t optimised = now_ns();
  c.passes_ns = optimised - parsed;

  llvm::raw_svector_ostream out(c.object);
  llvm::legacy::PassManager passes;
  passes.add(new llvm::TargetLibraryInfoWrapperPass(llvm::TargetLibraryInfoImpl(machine->getTargetTriple())));
  if (machine->addPassesToEmitFile(passes, out, nullptr, llvm::CodeGenFileType::ObjectFile,
                                   /*DisableVerify=*/true)) {
    c.log += "this target cannot emit objects\n";
    return false;
  }
  passes.run(*module);
  c.code_ns = now_ns() - optimised;
  return !failed;
}

}  // namespace phlox_plugin
