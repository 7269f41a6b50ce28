// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vmdebootstrap/vmdebootstrap/"

// luksyModule has the structures of LUKS2 and imports no other package of the organisation that buildah is from.
const luksyModule = "github.com/containers/luksy"

// rule is a line of the table "Who may import whom" in contrib/design/architecture.md.
type rule struct {
	tree string // the packages of this directory
	// depend lists what they must not depend on, not even indirectly; use lists what they must not import themselves,
	// although a library of theirs may.
	depend, use []string
	// except lists exceptions from depend.
	except []string
}

var rules = []rule{
	{"diskimage", []string{
		module + "builder", module + "oci", module + "hooks", "github.com/spf13", "github.com/containers",
		"go.podman.io",
	}, nil, []string{luksyModule}},
	{"hooks", []string{
		module + "builder", module + "oci", module + "diskimage", "github.com", "gopkg.in", "golang.org",
		"go.podman.io", "go.yaml.in",
	}, nil, nil},
	{
		"oci", []string{module + "builder", module + "diskimage", module + "hooks"},
		[]string{"github.com/spf13", "github.com/diskfs"},
		[]string{module + "diskimage/acl", module + "diskimage/ownerxattr"},
	},
	// The parts of diskimage that oci may import are leaves.
	{"diskimage/acl", []string{module, "github.com", "go.podman.io"}, nil, nil},
	{"diskimage/ownerxattr", []string{module, "github.com", "go.podman.io"}, nil, nil},
	{
		"builder", []string{module + "oci", "github.com/containers", "go.podman.io", "github.com/spf13"}, nil,
		[]string{module + "oci/types", luksyModule},
	},
	// The order of oci's packages is run, host, supervise, from top to bottom; registry depends on none of them.
	{"oci/internal/host", []string{module + "oci/internal/run", module + "oci/internal/registry"}, nil, nil},
	{"oci/internal/supervise", []string{module + "oci/internal/host", module + "oci/internal/run"}, nil, nil},
	{
		"oci/internal/registry", []string{
			module + "oci/internal/host", module + "oci/internal/run", module + "oci/internal/supervise",
		}, nil, nil,
	},
	{
		"builder/internal/snapshot",
		[]string{module + "builder/internal/step", module + "builder/internal/boot",
			module + "builder/internal/secret"}, nil, nil,
	},
	// The part of oci that builder may import holds types only.
	{
		"oci/types", []string{module, "github.com", "go.podman.io", "golang.org"}, nil,
		[]string{"github.com/opencontainers/go-digest", "github.com/opencontainers/runtime-spec/specs-go"},
	},
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		check(t, r.tree, r.depend, r.except, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}")
		check(t, r.tree, r.use, r.except, "-f", `{{join .Imports "\n"}}`)
	}
}

// TestDiskimageRunsNoPrograms checks that diskimage writes images without other programs and without C. Only
// its packages that start machines and test images run programs.
func TestDiskimageRunsNoPrograms(t *testing.T) {
	t.Parallel()
	for _, line := range listPackages(t, "diskimage", "-f", `{{.ImportPath}} {{join .Imports " "}}`) {
		name, imports, _ := strings.Cut(line, " ")
		own := strings.TrimPrefix(name, module+"diskimage/")
		for i := range strings.FieldsSeq(imports) {
			if i == "C" || i == "os/exec" && own != "vm" && own != "diskimagetest" {
				t.Errorf("%s imports %s", name, i)
			}
		}
	}
}

// check lists the dependencies of a tree with go list and reports those that are denied.
func check(t *testing.T, tree string, denied, allowed []string, args ...string) {
	t.Helper()
	for _, dep := range strings.Fields(strings.Join(listPackages(t, tree, args...), "\n")) {
		own := dep == module+tree || strings.HasPrefix(dep, module+tree+"/")
		for _, d := range denied {
			if !own && !slices.Contains(allowed, dep) && (dep == d ||
				strings.HasPrefix(dep, strings.TrimSuffix(d, "/")+"/")) {
				t.Errorf("%s imports %s, which the architecture forbids", tree, dep)
			}
		}
	}
}

// listPackages returns the lines that go list prints for the packages of a directory.
func listPackages(t *testing.T, tree string, args ...string) []string {
	t.Helper()
	args = append([]string{"list", "-tags", buildTags}, append(args, "../../"+tree+"/...")...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

const buildTags = "containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper"
