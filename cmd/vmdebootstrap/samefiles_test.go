// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// envSameFiles chooses the long form of TestUnpackingIsDpkgs; make test-same-files sets it.
const envSameFiles = "VMDEBOOTSTRAP_TEST_SAME_FILES"

// TestUnpackingIsDpkgs builds root file systems with our unpacking and with the real dpkg's, and compares all that a tar
// archive tells of each file. Files of the build's own time have that of SOURCE_DATE_EPOCH; logs, caches and random
// keys are not in an image.
func TestUnpackingIsDpkgs(t *testing.T) {
	minimal := []string{"--debootstrapopts=variant=minbase", "--no-kernel", "--no-acpid", "--no-systemd-networkd"}
	// Packages with preinsts, configuration files, diversions, alternatives, triggers, users and conflicts.
	many := append(slices.Clone(minimal), "--package=openssh-server,network-manager,python3-pip,logcheck,grub-pc")
	some := append(slices.Clone(minimal), "--package=openssh-server,man-db,python3-minimal,netbase",
		"--run=apt-get -q install -y --no-install-recommends logrotate")
	kernel := []string{"--kernel-package=linux-image-cloud-amd64"}
	cases := []struct {
		suite   string
		options []string
	}{{"bookworm", some}, {"trixie", kernel}}
	if os.Getenv(envSameFiles) != "" {
		cases = nil
		for _, suite := range []string{"bullseye", "bookworm", "trixie", "sid"} {
			for _, options := range [][]string{nil, minimal, many} {
				cases = append(cases, struct {
					suite   string
					options []string
				}{suite, options})
			}
		}
		cases = append(cases, struct {
			suite   string
			options []string
		}{"trixie", append(slices.Clone(minimal), "--arch=arm64")})
	}
	for _, c := range cases {
		t.Run(c.suite+" "+strings.Join(c.options, " "), func(t *testing.T) {
			dir := t.TempDir()
			var trees [2]map[string]string
			for i, way := range []string{"auto", "debootstrap"} {
				cmd := vmdebootstrap(t, append([]string{"--no-cache", "--tarball", way + ".tar", "--allow-expired",
					"--log", way + ".log", "--log-level", "debug",
					"--lock-root-password", "--distribution", c.suite, "--bootstrap", way, "--explain-cache"}, c.options...)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", way, err, out)
				}
				trees[i] = tarEntries(t, filepath.Join(dir, way+".tar"))
				// Otherwise this compares nothing of our own. sid has dracut in place of initramfs-tools.
				withKernel := way == "auto" && !slices.Contains(c.options, "--no-kernel")
				if early := "run early: make the initramfs"; withKernel && c.suite != "sid" && !bytes.Contains(out, []byte(early)) {
					t.Errorf("the initramfs was not made early:\n%s", out)
				}
				if log, err := os.ReadFile(filepath.Join(dir, way+".log")); withKernel &&
					(err != nil || !bytes.Contains(log, []byte("depmod: took the indexes"))) {
					t.Errorf("the kernel's postinst has had depmod read all modules: %v", err)
				}
			}
			if len(trees[1]) < 1000 {
				t.Fatalf("only %d files", len(trees[1]))
			}
			for _, name := range slices.Sorted(maps.Keys(merged(trees[0], trees[1]))) {
				ours, theirs := trees[0][name], trees[1][name]
				if c.suite == "bullseye" && strings.HasSuffix(name, ".pyc") {
					// Python 3.9 marks references by their counts: 33 of these files differ in content between two runs of
					// debootstrap. The digest is the last word.
					ours, theirs = ours[:strings.LastIndexByte(ours, ' ')+1], theirs[:strings.LastIndexByte(theirs, ' ')+1]
				}
				if ours != theirs {
					t.Errorf("%s:\nours: %s\ndpkg: %s", name, ours, theirs)
				}
			}
		})
	}
}
