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

// rule is a line of the table "who may import whom" of contrib/design/architecture.md.
type rule struct {
	tree string // the packages of this directory
	// depend lists what they must not depend on, not even by way of others; use lists what they must not import
	// themselves, though a library of theirs may.
	depend, use []string
	// except lists what they may depend on though it is below what they must not.
	except []string
}

var rules = []rule{
	{"diskimage", []string{
		module + "builder", module + "oci", module + "hooks", "github.com/spf13", "github.com/containers",
		"go.podman.io",
	}, nil, nil},
	{"hooks", []string{
		module + "builder", module + "oci", module + "diskimage", "github.com", "gopkg.in", "golang.org",
		"go.podman.io", "go.yaml.in",
	}, nil, nil},
	{
		"oci", []string{module + "builder", module + "diskimage", module + "hooks"},
		[]string{"github.com/spf13", "github.com/diskfs"},
		[]string{module + "diskimage/acl", module + "diskimage/ownerxattr"},
	},
	// What oci may import of diskimage imports nothing of it.
	{"diskimage/acl", []string{module, "github.com", "go.podman.io"}, nil, nil},
	{"diskimage/ownerxattr", []string{module, "github.com", "go.podman.io"}, nil, nil},
	{
		"builder", []string{module + "oci", "github.com/containers", "go.podman.io", "github.com/spf13"}, nil,
		[]string{module + "oci/types"},
	},
	// The rooms of oci know those below: run, host, supervise, and beside them registry.
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
	// What builder may import of oci are words, and nothing that does anything.
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

// diskimage writes images by itself: no program is run, no C is linked. Its packages that start machines and
// test images are for after that.
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

// check lists packages and reports the ones that are denied.
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

// listPackages gives the lines that go list prints of the packages of a directory.
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
