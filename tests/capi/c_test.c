/* phlox.h from C11: tensors, an op, a gradient, an error, a callback. */
#include <phlox/phlox.h>
#include <stdio.h>
#include <string.h>

static int failures;
#define EXPECT(condition)                                                        \
  do {                                                                           \
    if (!(condition)) {                                                          \
      ++failures;                                                                \
      printf("%s:%d: %s [%s]\n", __FILE__, __LINE__, #condition, phlox_error_message(phlox_last_error())); \
    }                                                                            \
  } while (0)
#define OK(call) EXPECT((call) == PHLOX_OK)

static const phlox_device cpu = {PHLOX_CPU, 0};

static phlox_tensor* vector(const float* values, int64_t n) {
  phlox_tensor* t = NULL;
  OK(phlox_tensor_from_data(values, PHLOX_F32, &n, 1, cpu, &t));
  return t;
}

static phlox_slot tensor_slot(phlox_tensor* t) {
  phlox_slot s = {0};
  s.kind = PHLOX_SLOT_TENSOR;
  s.u.tensor = t;
  return s;
}

static phlox_tensor* binary(const char* name, phlox_tensor* a, phlox_tensor* b) {
  const phlox_op* op = NULL;
  OK(phlox_find_op(name, &op));
  phlox_slot args[2] = {tensor_slot(a), tensor_slot(b)};
  phlox_tensor* out = NULL;
  int32_t n = 1;
  OK(phlox_call(op, args, 2, &out, &n, "c_test.c"));
  EXPECT(n == 1);
  return out;
}

static int freed;
static void deleter(void* context, void* data) {
  EXPECT(context == &freed && data != NULL);
  ++freed;
}

static void test_tensors(void) {
  const float values[6] = {1, 2, 3, 4, 5, 6};
  const int64_t sizes[2] = {2, 3};
  phlox_tensor* t = NULL;
  OK(phlox_tensor_from_data(values, PHLOX_F32, sizes, 2, cpu, &t));
  EXPECT(phlox_tensor_rank(t) == 2 && phlox_tensor_sizes(t)[1] == 3 && phlox_tensor_strides(t)[0] == 3);
  EXPECT(phlox_tensor_numel(t) == 6 && phlox_tensor_dtype(t) == PHLOX_F32);
  EXPECT(!memcmp(phlox_tensor_data(t), values, sizeof values));
  phlox_text* text = NULL;
  OK(phlox_tensor_print(t, &text));
  EXPECT(!strcmp(phlox_text_data(text), "tensor([[1., 2., 3.],\n        [4., 5., 6.]])"));
  phlox_text_free(text);
  phlox_tensor_release(t);

  float lent[4] = {1, 2, 3, 4};
  const int64_t shape[1] = {2}, strides[1] = {2};
  OK(phlox_tensor_from_memory(lent, PHLOX_F32, shape, strides, 1, cpu, deleter, &freed, &t));
  float read[2] = {0};
  OK(phlox_tensor_read(t, read, sizeof read));
  EXPECT(read[0] == 1 && read[1] == 3);
  phlox_tensor_retain(t);
  phlox_tensor_release(t);
  EXPECT(freed == 0);
  phlox_tensor_release(t);
  EXPECT(freed == 1);
}

static void test_ops(void) {
  const float a[2] = {1, 2}, b[2] = {10, 20};
  phlox_tensor *x = vector(a, 2), *y = vector(b, 2), *z = binary("add.Tensor", x, y);
  EXPECT(((float*)phlox_tensor_data(z))[1] == 22);
  phlox_tensor* same = binary("mul_.Tensor", x, y);
  EXPECT(same == x && ((float*)phlox_tensor_data(x))[1] == 40 && phlox_tensor_version(x) == 1);
  const phlox_op* op = NULL;
  OK(phlox_find_op("add.out", &op));
  EXPECT(!strcmp(phlox_op_schema(op), "add.out(Tensor self, Tensor other, *, Scalar alpha=1, Tensor(a!) out) -> Tensor(a!)"));
  phlox_slot args[3] = {tensor_slot(x), tensor_slot(y), tensor_slot(z)};
  phlox_tensor* out = NULL;
  int32_t n = 1;
  EXPECT(phlox_call(op, args, 3, &out, &n, NULL) == PHLOX_OK && out == z && ((float*)phlox_tensor_data(z))[0] == 20);
  phlox_tensor_release(out);
  phlox_tensor_release(same);
  phlox_tensor_release(x);
  phlox_tensor_release(y);
  phlox_tensor_release(z);
}

static void test_errors(void) {
  const phlox_op* op = NULL;
  EXPECT(phlox_find_op("ad.Tensor", &op) == PHLOX_NOT_FOUND && op == NULL);
  const phlox_error* e = phlox_last_error();
  EXPECT(phlox_error_status(e) == PHLOX_NOT_FOUND && !strcmp(phlox_error_part(e, PHLOX_ERROR_GOT), "ad.Tensor"));
  OK(phlox_find_op("add.Tensor", &op));
  phlox_slot args[2] = {{0}, {0}};
  phlox_tensor* out = NULL;
  int32_t n = 1;
  EXPECT(phlox_call(op, args, 2, &out, &n, NULL) == PHLOX_INVALID_ARGUMENT && out == NULL);
  EXPECT(strstr(phlox_error_message(phlox_last_error()), "argument 'self' may not be none") != NULL);
  const int64_t negative = -1;
  EXPECT(phlox_tensor_empty(PHLOX_F32, &negative, 1, cpu, &out) == PHLOX_INVALID_ARGUMENT);
  EXPECT(phlox_tensor_empty(99, NULL, 0, cpu, &out) == PHLOX_INVALID_ARGUMENT);
  EXPECT(phlox_raise(PHLOX_IO, "here", "it broke", NULL, NULL, "mend it") == PHLOX_IO);
  EXPECT(!strcmp(phlox_error_message(phlox_last_error()), "here: it broke; mend it"));
}

static int hook_calls;
static phlox_status hook(void* context, phlox_tensor* grad, phlox_tensor** replacement) {
  (void)replacement;
  ++*(int*)context;
  EXPECT(phlox_tensor_numel(grad) == 2);
  return PHLOX_OK;
}
static phlox_status failing_hook(void* context, phlox_tensor* grad, phlox_tensor** replacement) {
  (void)context, (void)grad, (void)replacement;
  return phlox_raise(PHLOX_CALLBACK, "hook", "no", NULL, NULL, NULL);
}

static void test_gradients(void) {
  const float a[2] = {3, 4}, ones[2] = {1, 1};
  phlox_tensor *x = vector(a, 2), *seed = vector(ones, 2), *grad = NULL;
  phlox_hook *h1 = NULL, *h2 = NULL;
  OK(phlox_tensor_set_requires_grad(x, 1));
  OK(phlox_tensor_add_hook(x, hook, &hook_calls, NULL, &h1));
  phlox_tensor* y = binary("mul.Tensor", x, x);
  OK(phlox_backward(&y, &seed, 1, PHLOX_RETAIN_GRAPH));
  OK(phlox_tensor_grad(x, &grad));
  EXPECT(grad && ((float*)phlox_tensor_data(grad))[1] == 8 && hook_calls == 1);
  phlox_tensor_release(grad);
  OK(phlox_tensor_add_hook(x, failing_hook, NULL, NULL, &h2));
  EXPECT(phlox_backward(&y, &seed, 1, 0) == PHLOX_CALLBACK);
  EXPECT(!strcmp(phlox_error_message(phlox_last_error()), "hook: no"));
  phlox_hook_release(h1);
  phlox_hook_release(h2);
  phlox_tensor_release(x);
  phlox_tensor_release(y);
  phlox_tensor_release(seed);
}

int main(void) {
  EXPECT(phlox_abi_version() >> 16 == PHLOX_ABI_MAJOR);
  test_tensors();
  test_ops();
  test_errors();
  test_gradients();
  printf(failures ? "%d failures\n" : "capi_c: ok\n", failures);
  return failures != 0;
}
