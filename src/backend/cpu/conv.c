#include "backend/cpu/kernels.h"
void V(install_conv)(struct device_ops *ops) {
  (void)ops;
}
