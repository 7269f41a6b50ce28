// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// Tables A.1 and A.2 of the specification.
var (
	boolSettings = []string{
		"verbose", "configure-apt", "no-kernel", "enable-dhcp", "lock-root-password", "sudo", "serial-console",
		"use-uefi", "extlinux", "grub", "mbr", "no-acpid", "sparse", "pkglist", "dry-run", "update-initramfs",
		"convert-qcow2", "systemd-networkd",
	}
	valueSettings = []string{
		"image", "size", "tarball", "squash", "mirror", "apt-mirror", "arch", "distribution", "debootstrapopts",
		"debootstrap-scripts", "package", "custom-package", "kernel-package", "root-password", "user", "hostname",
		"customize", "owner", "serial-console-command", "bootsize", "boottype", "bootflag", "bootoffset", "roottype",
		"part-type", "swap", "foreign", "esp-size", "output", "log", "log-level", "log-max", "log-keep", "log-mode",
		"dump-memory-profile", "memory-dump-interval",
	}
	// Settings that are not in the manual.
	extensionBools = []string{"recommends", "cache", "grow", "keep-identity", "allow-expired",
		"explain-cache", "debug-shell", "cloud-init", "bmap", "tls-verify", "luks", "luks-recovery-key", "iso-persistence",
		"verity", "luks-tpm2"}
	extensionValues = []string{"run", "copy-in", "containerfile", "build-arg", "secret", "hook", "root-password-file",
		"state-dir", "cache-limit", "boot", "free", "format", "compress", "raw", "sector-size", "boot-mount", "dtb",
		"bootstrap", "export", "export-compression", "cache-from", "cache-to", "cache-key", "isolation",
		"tools-mirror", "ca", "progress", "manifest", "sbom", "lock-file", "report", "provenance", "sign-key",
		"pockets", "security-mirror", "snapshot", "snapshot-mirror", "repository", "repository-key", "apt-preferences",
		"dpkg-arch", "ssh-key", "authorized-keys",
		"password-hash", "timezone", "locale", "keymap", "user-data", "meta-data", "network-config",
		"luks-passphrase", "luks-key-file", "iso", "iso-label", "secureboot-key", "secureboot-cert",
		"ab", "ab-key", "ab-artifacts", "image-version"}

	actions = []string{
		"config", "no-default-configs", "dump-config", "dump-setting-names", "list-config-files", "generate-manpage",
		"help", "help-all", "version",
	}
)

func TestEveryOptionOfTheManualExists(t *testing.T) {
	t.Parallel()
	_, flags := newRoot(environment{}, io.Discard, io.Discard)
	for _, name := range slices.Concat(boolSettings, valueSettings, actions) {
		if flags.Lookup(name) == nil {
			t.Errorf("no option --%s", name)
		}
	}
	for _, name := range boolSettings {
		for _, form := range []string{name, oppositeName(name)} {
			if flag := flags.Lookup(form); flag == nil || flag.NoOptDefVal == "" {
				t.Errorf("--%s is not there, or takes a value", form)
			}
		}
	}
	for _, name := range valueSettings {
		if flag := flags.Lookup(name); flag != nil && flag.NoOptDefVal != "" {
			t.Errorf("--%s takes no value", name)
		}
		if flags.Lookup(oppositeName(name)) != nil {
			t.Errorf("--%s exists", oppositeName(name))
		}
	}
}

func TestEverySettingIsListedHere(t *testing.T) {
	t.Parallel()
	for _, s := range newSettings("amd64").all {
		if !slices.Contains(slices.Concat(boolSettings, valueSettings, extensionBools, extensionValues), s.name) {
			t.Errorf("%s is not in the tables of this test", s.name)
		}
		if !slices.Contains(groups, s.group) || s.usage == "" {
			t.Errorf("%s has no group or no help text", s.name)
		}
	}
}

func TestExtensionsLeaveAbbreviationsAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ abbreviation, want string }{
		{"--explain", "--explain-cache"}, // no old option begins like that
		{"--st", "--state-dir=x"},
		{"--conv", "--convert-qcow2"},
		{"--no-ext", "--no-extlinux"},
	} {
		_, flags := newRoot(environment{}, io.Discard, io.Discard)
		got, err := expand(flags, []string{tt.abbreviation, "x"})
		if err != nil || len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.abbreviation, got, err, tt.want)
		}
	}
	for _, name := range slices.Concat(boolSettings, valueSettings) {
		for end := range len(name) {
			old := slices.DeleteFunc(slices.Concat(boolSettings, valueSettings, actions, oppositeNames()),
				func(o string) bool {
					return !strings.HasPrefix(o, name[:end+1])
				})
			if len(old) != 1 {
				continue
			}
			_, flags := newRoot(environment{}, io.Discard, io.Discard)
			if flag, err := findFlag(flags, name[:end+1]); err != nil || flag.Name != name {
				t.Errorf("--%s no longer means --%s: %v", name[:end+1], name, err)
			}
		}
	}
}

func oppositeNames() []string {
	var names []string
	for _, name := range boolSettings {
		names = append(names, oppositeName(name))
	}
	return names
}

// settingTexts holds values for settings that do not accept arbitrary text.
var settingTexts = map[string]string{
	"log-level": "error", "dump-memory-profile": "none", "log-mode": "0644", "hook": "image:changed",
	"size": "auto", "free": "1G", "raw": "rootfs:/boot/changed@8KiB", "export": "oci:changed",
	"cache-from": "oci:changed", "cache-to": "oci:changed", "isolation": "chroot", "progress": "json",
	"sbom": "spdx:changed", "password-hash": "root:changed", "authorized-keys": "root:changed",
	"mirror": "http://changed http://changed.too", "repository": "http://changed suite main",
	"secret": "id=changed,env=CHANGED", "snapshot": "2026-01-31",
	"luks-passphrase": "env:CHANGED", "luks-key-file": "env:CHANGED",
	"secureboot-key": "flags_test.go", "secureboot-cert": "flags_test.go",
}

// TestEverySettingHasItsOwnVariable changes each setting, and expects that only its own line of the dump changes.
func TestEverySettingHasItsOwnVariable(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Concat(boolSettings, valueSettings, extensionBools, extensionValues) {
		s := newSettings("amd64")
		before := dumps(s)
		target := s.lookup(name)
		text := settingTexts[name]
		switch target.value.(type) {
		case boolValue:
			text = "yes"
			if target.value.String() == "true" {
				text = "no"
			}
		case sizeValue, countValue:
			text = "12345"
		default:
			if text == "" {
				text = "changed"
			}
		}
		if err := target.value.Set(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other, now := range dumps(s) {
			if changed := !slices.Equal(now, before[other]); changed != (other == name) {
				t.Errorf("after setting %s: %s changed: %v", name, other, changed)
			}
		}
	}
}

func dumps(s *settings) map[string][]string {
	all := map[string][]string{}
	for _, t := range s.all {
		all[t.name] = t.value.dump()
	}
	return all
}

// TestEveryOptionOfTheBuilderCanBeSet fails when a field of builder.Options has no setting.
func TestEveryOptionOfTheBuilderCanBeSet(t *testing.T) {
	t.Parallel()
	s := newSettings("amd64")
	before := reflect.ValueOf(builder.DefaultOptions())
	for _, name := range slices.Concat(boolSettings, valueSettings, extensionBools, extensionValues) {
		switch v := s.lookup(name).value.(type) {
		case boolValue:
			*v.p = !*v.p
		case sizeValue:
			*v.p++
		case autoSizeValue:
			*v.p++
			*v.auto = true
		case textValue, urlValue, listValue, secretValue, usersValue, actionsValue, spaceValue,
			mirrorsValue, repositoriesValue, hashesValue, snapshotValue, parsedValue[builder.AuthorizedKeys],
			parsedValue[builder.Blob], parsedValue[builder.Export], parsedValue[builder.SBOM]:
			if err := v.Set(cmp.Or(settingTexts[name], "changed")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	s.secrets.lookup = func(string) (string, bool) { return "changed", true }
	if err := errors.Join(s.readBuildSecrets(), s.readLUKS(), s.readSecureBoot()); err != nil {
		t.Error(err)
	}
	after := reflect.ValueOf(s.options)
	for i := range after.NumField() {
		if reflect.DeepEqual(after.Field(i).Interface(), before.Field(i).Interface()) {
			t.Errorf("no setting changes %s", after.Type().Field(i).Name)
		}
	}
}

func TestExpandWritesOptionsOut(t *testing.T) {
	t.Parallel()
	_, flags := newRoot(environment{}, io.Discard, io.Discard)
	for _, test := range []struct{ args, want string }{
		{"--image x", "--image=x"},
		{"--image=x", "--image=x"},
		{"--image=a=b", "--image=a=b"},
		{"--image=", "--image="},
		{"--tarball --arch=amd64", "--tarball=--arch=amd64"},
		{"--tarball --", "--tarball=--"},
		{"--imag x --dist=sid", "--image=x --distribution=sid"},
		{"--serial-console", "--serial-console"},
		{"--log x", "--log=x"},
		{"--no-no-k", "--no-no-kernel"},
		{"--kernel x", "--kernel-package=x"},
		{"a --verbose b - c", "--verbose"},
		{"--verbose -- --nosuch", "--verbose"},
		{"-h", "--help"},
		{"-v", "--version"},
		{"-V", "--version"},
	} {
		got, err := expand(flags, strings.Fields(test.args))
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.args, got, err, test.want)
		}
	}
}

func TestExpandRejectsUnknownOptions(t *testing.T) {
	t.Parallel()
	_, flags := newRoot(environment{}, io.Discard, io.Discard)
	for args, want := range map[string]string{
		"--nosuch":      "no such option: --nosuch",
		"--nosuch=x":    "no such option: --nosuch",
		"-x":            "no such option: -x",
		"--=x":          "no such option: --",
		"--image":       "--image option requires an argument",
		"--bootfl":      "--bootflag option requires an argument",
		"--verbose=yes": "--verbose option does not take a value",
		"--boott=a --b": "ambiguous option: --b (--bootflag, --bootoffset, --bootsize, --boottype?)",
	} {
		_, err := expand(flags, strings.Fields(args))
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestConfigFilesAreLookedForInOrder(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for _, name := range []string{
		"etc/vmdebootstrap/b.yaml", "etc/vmdebootstrap/a.conf", "etc/vmdebootstrap/README", "etc/vmdebootstrap/c.conf",
		"home/.config/vmdebootstrap/d.conf", "xdg1/vmdebootstrap/e.yaml", "xdg2/vmdebootstrap/f.conf",
	} {
		file := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := environment{etc: filepath.Join(top, "etc"), environ: []string{
		"HOME=" + filepath.Join(top, "home"),
		"XDG_CONFIG_HOME=" + filepath.Join(top, "home", ".config"),
		"XDG_CONFIG_DIRS=" + filepath.Join(top, "xdg1") + ":" + filepath.Join(top, "xdg2"),
	}}
	var got []string
	for _, name := range newConfigFiles(env).list() {
		relative, err := filepath.Rel(top, name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, relative)
	}
	want := []string{
		"etc/vmdebootstrap.conf", "etc/vmdebootstrap.yaml",
		"etc/vmdebootstrap/a.conf", "etc/vmdebootstrap/b.yaml", "etc/vmdebootstrap/c.conf",
		"home/.vmdebootstrap.conf", "home/.vmdebootstrap.yaml", "home/.config/vmdebootstrap/d.conf",
		"xdg1/vmdebootstrap/e.yaml", "xdg2/vmdebootstrap/f.conf",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
