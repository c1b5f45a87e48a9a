# make help lists the targets.

GO       ?= go
# make's own default is cc, whose --version go build -asan does not know as gcc's.
ifeq ($(origin CC),default)
CC       := gcc
endif
LIBRARY  := dist/libk8saudit.so
JSON     := dist/libjson.so
CACHE    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kaudit
RECORDING ?= testdata/recordings/attacks.jsonl.gz
PACKAGES  = $$($(GO) list ./... | grep -v /test/e2e)
WITHOUT_C = $$($(GO) list ./... | grep -v -e /internal/abi -e /plugin -e /test/)
FUZZTIME ?= 10m
BASE     ?= main
BENCH    ?= Decode|Recorded|Batch
COUNT    ?= 6
RELEASE  := dist/release
GOLANGCI_VERSION := v2.15.0
COSIGN   ?= cosign
COMMAND  := dist/kaudit
DESTDIR  ?=
PREFIX   ?= /usr/local
SHARE     = $(DESTDIR)$(PREFIX)/share
RULES_TO  = $(DESTDIR)/etc/falco/kaudit_rules.yaml

export CC

GOLANGCI := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)

.PHONY: help run replay build dist/kaudit test lint generate drift e2e bench bench-falco bench-plots bench-compare fuzz record dist push sign install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: dist/kaudit ## build the command, and print alerts on a recording of attacks (needs Go only)
	dist/kaudit run $(RECORDING)

replay: build ## the same with the library inside Falco's engine (needs what make e2e needs)
	$(GO) run ./test/e2e/replay -library $(LIBRARY) $(RECORDING)

build: dist/kaudit ## build dist/kaudit, dist/libk8saudit.so and dist/libjson.so
	$(GO) build -trimpath -buildmode=c-shared -o $(LIBRARY) ./plugin
	$(GO) build -trimpath -buildmode=c-shared -o $(JSON) ./plugin/json
	@rm -f $(LIBRARY:.so=.h) $(JSON:.so=.h)

dist/kaudit:
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./cmd/kaudit

test: ## run all tests but the slow end-to-end ones
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) test $(WITHOUT_C)
	$(GO) test -race -shuffle=on -timeout 30m $(PACKAGES)
	cd build/release && $(GO) vet ./... && $(GO) test ./...

e2e: build ## run the library inside real hosts (needs apt-get, dpkg-deb, curl and openssl, as Debian and Ubuntu have them)
	KAUDIT_LIBRARY=$(CURDIR)/$(LIBRARY) $(GO) test -count=1 -timeout 40m ./test/e2e/...
	cd test/e2e/sender && $(GO) test -count=1 ./...
	cd test/e2e/cluster && $(GO) test ./...

bench: build ## measure: decoding, extraction, kaudit run, the spool, the boundary from C
	$(GO) test -run '^$$' -bench 'Decode|Scan|Extract|File|Run|Spool|Durable|Lone|Webhook' -benchmem ./pkg/... ./internal/... ./cmd/...
	$(GO) test -run '^$$' -bench . ./test/boundary

bench-falco: build ## measure inside Falco: FALCO names it, OFFICIAL a folder with the official plugins and rules (BENCHFLAGS)
	$(GO) run ./test/e2e/bench $(BENCHFLAGS)

bench-plots: build ## draw docs/performance/*.svg: what an event costs by its size and by the number of rules
	$(GO) run ./test/e2e/bench -plots docs/performance $(BENCHFLAGS)

bench-compare: ## compare decoding, extraction and writing with the revision BASE=main, by benchstat
	test/bench/compare '$(BASE)' '$(BENCH)' '$(COUNT)'

fuzz: ## fuzz every target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./pkg/... ./internal/...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

record: ## record testdata/recordings and the rules' fixtures anew from a real API server
	cd test/e2e/cluster && $(GO) run . record

lint: $(GOLANGCI) ## run golangci-lint (built once on a machine) and the formatter's check
	$(GOLANGCI) run ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/kaudit # the command is for Macs, too
	cd test/e2e/cluster && $(GO) vet ./...
	cd test/e2e/sender && $(GO) vet ./...
	cd build/release && $(GOLANGCI) run ./...

$(GOLANGCI):
	GOBIN=$(CACHE)/bin/tmp-$(GOLANGCI_VERSION) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(CACHE)/bin/tmp-$(GOLANGCI_VERSION)/golangci-lint $@

generate: ## write the generated pages
	$(GO) generate ./...

drift: ## fail if a generated page or go.mod is not what it should be
	$(GO) run ./internal/docgen -check
	$(GO) mod tidy -diff
	cd test/e2e/cluster && $(GO) mod tidy -diff
	cd test/e2e/sender && $(GO) mod tidy -diff
	cd build/release && $(GO) mod tidy -diff
	cd test/e2e/packaging/tools && $(GO) mod tidy -diff

dist: ## make packages in dist/release: falcoctl artifacts, image, Debian package, checksums (ARCH=amd64,arm64)
	cd build/release && $(GO) run . -root ../.. -out ../../$(RELEASE) -arch '$(ARCH)' dist

push: ## push what make dist made to REGISTRY=host/folder, and write dist/release/index.yaml for falcoctl
	$(if $(REGISTRY),,$(error say where to: make push REGISTRY=host/folder))
	cd build/release && $(GO) run . -out ../../$(RELEASE) $(PUSHFLAGS) push $(REGISTRY)

sign: ## sign what is in REGISTRY=host/folder by digest with cosign (COSIGN, COSIGNFLAGS=--key cosign.key, or keyless)
	$(if $(REGISTRY),,$(error say what to sign: make sign REGISTRY=host/folder))
	@set -e; for repository in plugin/kaudit plugin/kaudit-json ruleset/kaudit image/kaudit; do \
		digest=$$(sed -E 's/.*"digest":"(sha256:[0-9a-f]{64})".*/\1/' $(RELEASE)/oci/$$repository/index.json); \
		$(COSIGN) sign --yes $(COSIGNFLAGS) $(REGISTRY)/$$repository@$$digest; \
	done

install: ## install libraries, rules, command, configurations and completions below DESTDIR/PREFIX, after make build
	@test -f $(LIBRARY) && test -f $(JSON) && test -f $(COMMAND) || { echo "run make build first" >&2; exit 1; }
	install -D -m 755 $(LIBRARY) $(SHARE)/falco/plugins/libk8saudit.so
	install -D -m 755 $(JSON) $(SHARE)/falco/plugins/libjson.so
	install -D -m 755 $(COMMAND) $(DESTDIR)$(PREFIX)/bin/kaudit
	install -d $(DESTDIR)/etc/falco $(SHARE)/kaudit
	cd build/release && $(GO) run . -root ../.. rules > $(abspath $(RULES_TO))
	cp -R build/falco build/helm build/kubernetes $(SHARE)/kaudit/
	cp rules/policy/*.yaml $(SHARE)/kaudit/kubernetes/
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/vendor-completions $(SHARE)/fish/vendor_completions.d
	$(COMMAND) completion bash > $(SHARE)/bash-completion/completions/kaudit
	$(COMMAND) completion zsh > $(SHARE)/zsh/vendor-completions/_kaudit
	$(COMMAND) completion fish > $(SHARE)/fish/vendor_completions.d/kaudit.fish

uninstall: ## remove what make install installed, with the same DESTDIR and PREFIX
	rm -f $(SHARE)/falco/plugins/libk8saudit.so $(SHARE)/falco/plugins/libjson.so $(DESTDIR)$(PREFIX)/bin/kaudit $(RULES_TO)
	rm -f $(SHARE)/bash-completion/completions/kaudit $(SHARE)/zsh/vendor-completions/_kaudit $(SHARE)/fish/vendor_completions.d/kaudit.fish
	rm -rf $(SHARE)/kaudit

clean: ## remove what make build made
	rm -rf dist
