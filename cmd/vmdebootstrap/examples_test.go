// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const examplesDir = "../../contrib/examples"

// TestExamplesAreAccepted dry-runs each example that calls the program, and each hook with a plain image.
func TestExamplesAreAccepted(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), programName)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(examplesDir, "*.sh"))
	if err != nil || len(scripts) < 10 {
		t.Fatalf("found %q (%v)", scripts, err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			t.Parallel()
			script, err := filepath.Abs(script)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), script, "--dry-run")
			isHook := !strings.Contains(string(text), "${VMDEBOOTSTRAP:-vmdebootstrap}")
			if isHook {
				cmd = exec.CommandContext(t.Context(), program, "--image=x.img", "--size=2G", "--customize", script,
					"--dry-run")
			}
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "VMDEBOOTSTRAP="+program)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Plan:") {
				t.Errorf("%v\n%s", err, out)
			}
			if isHook != strings.Contains(string(text), "rootdir=$1") {
				t.Error("neither a hook nor a call of the program")
			}
		})
	}
}

// The settings for clouds are a config file, and a profile of files with images.
func TestCloudExampleMakesAnImageForClouds(t *testing.T) {
	t.Parallel()
	example, err := filepath.Abs(filepath.Join(examplesDir, "cloud.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	images := "images: {server: {image: server.qcow2}}\nprofiles: {cloud: {include: " + example + "}}\n"
	if err := os.WriteFile(filepath.Join(dir, "images.yaml"), []byte(images), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--no-default-configs", "--config", example, "--image", "cloud.qcow2"},
		{"build", "--no-default-configs", "images.yaml", "--profile", "cloud"},
	} {
		cmd := vmdebootstrap(t, append(args, "--mirror", "http://mirror.example/debian", "--dry-run")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		for _, want := range []string{"cloud-init", "openssh-server", "lock the root account", "configure cloud-init",
			"let the root file system grow", "let each copy make its own keys", "qcow2, 2GB, gpt, GRUB for BIOS and UEFI"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q: the plan lacks %q:\n%s", args, want, out)
			}
		}
	}
}

// planOfExample returns the plan of an example that is an image file.
func planOfExample(t *testing.T, name string) []byte {
	t.Helper()
	example, err := filepath.Abs(filepath.Join(examplesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := vmdebootstrap(t, "build", "--no-default-configs", example, "--mirror", "http://mirror.example/debian",
		"--arch", "amd64", "--dry-run")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// The live desktop is an image file with a medium that has an installer.
func TestLiveDesktopExampleMakesAMedium(t *testing.T) {
	t.Parallel()
	out := planOfExample(t, "live-desktop.yaml")
	for _, want := range []string{"task-xfce-desktop", "calamares-settings-debian", "live-boot-initramfs-tools",
		"live-desktop.iso: live system debian-trixie-xfce, GRUB for BIOS, UEFI and Secure Boot"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
}

// The kiosk has two slots, and writes its updates beside the image file.
func TestUpdatesExampleMakesAnImageWithSlots(t *testing.T) {
	t.Parallel()
	out := planOfExample(t, "updates.yaml")
	for _, want := range []string{"systemd-container", "update version 1 from https://updates.example/kiosk",
		"verified, labelled kiosk_1\n", "labelled _empty", "contrib/examples/updates\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
}

func TestLAVAJobIsYAMLWithItsParts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(examplesDir, "lava-job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		DeviceType string           `yaml:"device_type"`
		Timeouts   map[string]any   `yaml:"timeouts"`
		Actions    []map[string]any `yaml:"actions"`
	}
	if err := yaml.Unmarshal(text, &job); err != nil {
		t.Fatal(err)
	}
	if job.DeviceType != "qemu" || job.Timeouts["job"] == nil || len(job.Actions) != 3 ||
		job.Actions[1]["boot"] == nil {
		t.Errorf("got %+v", job)
	}
}

// Issue 17, 7: README shows what the program prints, to the letter.
func TestREADMEShowsRealOutput(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```console\n$ "+programName+" ")
	block, _, closed := strings.Cut(block, "```\n")
	call, want, _ := strings.Cut(block, "\n")
	if !found || !closed {
		t.Fatal("README has no session of a terminal")
	}
	got, err := vmdebootstrap(t, append([]string{"--no-default-configs"}, strings.Fields(call)...)...).CombinedOutput()
	if err != nil || string(got) != want {
		t.Errorf("%s: %v\ngot:\n%s\nREADME has:\n%s", call, err, got, want)
	}
}
