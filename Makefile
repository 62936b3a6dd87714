# A thin front of Meson. SANITIZE=address,undefined or SANITIZE=thread builds beside the ordinary build;
# MESON_FLAGS are passed to meson setup, TEST_FLAGS to meson test.
SANITIZE ?=
comma := ,
BUILD ?= build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
RUNS ?= 3
SETUP := $(if $(SANITIZE),-Db_sanitize=$(SANITIZE) -Db_lundef=false --buildtype=debugoptimized) $(MESON_FLAGS)

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	tools/packages.sh build
	meson setup -Dtests=false $(SETUP) $(BUILD)

test: $(BUILD)/build.ninja
	tools/packages.sh test
	meson configure -Dtests=true $(BUILD)
	ninja -C $(BUILD)
	meson test -C $(BUILD) --print-errorlogs $(TEST_FLAGS)

bench: all
	$(BUILD)/src/cli/sam3 bench -n $(RUNS)

install: all
	meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(DESTDIR))

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

# Every fuzz target for SECONDS.
SECONDS ?= 60
fuzz:
	tools/fuzz.sh $(SECONDS)

clean:
	rm -rf build build-address-undefined build-thread build-fuzz

.PHONY: all test bench install format fuzz clean
