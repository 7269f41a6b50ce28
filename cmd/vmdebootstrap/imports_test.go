package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/vmdebootstrap/vmdebootstrap/"

// forbidden is the table "who may import whom" of contrib/design/architecture.md: what the packages of a tree must not
// depend on, directly or by way of others. Standard library packages are "std" where nothing else is allowed.
var forbidden = map[string][]string{
	"diskimage": {module + "builder", module + "oci", module + "hooks", "github.com/spf13", "github.com/containers"},
	"hooks":     {module, "github.com", "gopkg.in", "golang.org"},
	"oci":       {module + "builder", module + "diskimage", module + "hooks", "github.com/spf13/cobra", "github.com/diskfs"},
	"builder":   {module + "oci", "github.com/containers", "github.com/spf13"},
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	t.Parallel()
	for tree, denied := range forbidden {
		cmd := exec.Command("go", "list", "-tags", buildTags, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "../../"+tree+"/...")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list %s: %v", tree, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			if dep == module+tree || strings.HasPrefix(dep, module+tree+"/") {
				continue
			}
			for _, d := range denied {
				if dep == strings.TrimSuffix(d, "/") || strings.HasPrefix(dep, strings.TrimSuffix(d, "/")+"/") {
					t.Errorf("%s depends on %s, which %s must not", tree, dep, tree)
				}
			}
		}
	}
}

const buildTags = "containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper"
