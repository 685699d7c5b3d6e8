/* phlox: the command line. */
#include <phlox/phlox.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: phlox COMMAND\n"
    "  inspect FILE...   what is in model files\n"
    "  doctor [--json]   what phlox finds on this machine, and why it does not find the rest\n"
    "  ops [NAME]        all ops as JSON; the schema and meaning of one\n"
    "  version\n";

static int failed(void) {
  fprintf(stderr, "phlox: %s\n", phlox_error_message(phlox_last_error()));
  return 1;
}

static int print_text(phlox_status status, phlox_text* text) {
  if (status != PHLOX_OK) return failed();
  const size_t size = phlox_text_size(text);
  const int good = fwrite(phlox_text_data(text), 1, size, stdout) == size;
  if (size > 0 && phlox_text_data(text)[size - 1] != '\n') putchar('\n');
  phlox_text_free(text);
  if (good && fflush(stdout) == 0) return 0;
  perror("phlox: cannot write");
  return 1;
}

static int inspect(int n, char** files) {
  int status = 0;
  for (int i = 0; i < n; ++i) {
    phlox_text* text = NULL;
    const phlox_status read = phlox_inspect_file(files[i], &text);
    status |= print_text(read, text);
  }
  return status;
}

static int report(const char* kind) {
  phlox_text* text = NULL;
  const phlox_status status = phlox_report(kind, &text);
  return print_text(status, text);
}

static int op(const char* name) {
  const phlox_op* found = NULL;
  if (phlox_find_op(name, &found) != PHLOX_OK) return failed();
  printf("%s\n%s\n", phlox_op_schema(found), phlox_op_doc(found));
  return 0;
}

int main(int argc, char** argv) {
  const char* command = argc > 1 ? argv[1] : "";
  if (!strcmp(command, "inspect") && argc > 2) return inspect(argc - 2, argv + 2);
  if (!strcmp(command, "doctor") && argc == 2) return report("doctor_text");
  if (!strcmp(command, "doctor") && argc == 3 && !strcmp(argv[2], "--json")) return report("doctor");
  if (!strcmp(command, "ops") && argc == 2) return report("ops");
  if (!strcmp(command, "ops") && argc == 3) return op(argv[2]);
  if (!strcmp(command, "version") && argc == 2) {
    printf("phlox %s\n", phlox_version());
    return 0;
  }
  const int help = !strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h");
  fputs(usage, help ? stdout : stderr);
  return help ? 0 : 2;
}
