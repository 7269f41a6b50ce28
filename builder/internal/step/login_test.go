// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// loginContext is the context of a step of a target with these files.
func loginContext(t *testing.T, files map[string]string) (*Context, *targettest.Target) {
	t.Helper()
	f := targettest.New(t, files)
	return &Context{Target: f, Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}, f
}

// Issue 19, 5.
func TestSSHKeysAreAuthorized(t *testing.T) {
	t.Parallel()
	keys := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	for i, text := range []string{"ssh-ed25519 AAAA a\n# team\nssh-ed25519 BBBB b", "ssh-rsa CCCC c\n\n"} {
		if err := os.WriteFile(keys[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, f := loginContext(t, map[string]string{
		"/etc/passwd":                   "root:x:0:0:root:/root:/bin/bash\nali:x:1:1::/srv/ali:/bin/sh\n",
		"/srv/ali/.ssh/authorized_keys": "ssh-rsa DDDD d\n", "/root/": ""})
	for user, want := range map[string]struct{ dir, before string }{
		"root": {"/root/.ssh", ""}, "ali": {"/srv/ali/.ssh", "ssh-rsa DDDD d\n"},
	} {
		f.Transcript = nil
		if err := (SSHKeys{User: user, Files: keys}).Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		text, err := f.ReadFile(want.dir + "/authorized_keys")
		if all := want.before + "ssh-ed25519 AAAA a\n# team\nssh-ed25519 BBBB b\nssh-rsa CCCC c\n"; err != nil ||
			string(text) != all {
			t.Errorf("%s: got %q (%v), want %q", user, text, err, all)
		}
		info, err := f.Lstat(want.dir + "/authorized_keys")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", user, info, err)
		}
		if got := strings.Join(f.Transcript, ";"); got != "chown -R "+user+": "+want.dir {
			t.Errorf("%s: ran %q", user, got)
		}
	}
	if info, err := f.Lstat("/root/.ssh"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := (SSHKeys{User: "nobody"}).Run(t.Context(), s); err == nil ||
		!strings.Contains(err.Error(), "no home directory of nobody") {
		t.Errorf("got %v", err)
	}
}

func TestPasswordHashesAreNotArguments(t *testing.T) {
	t.Parallel()
	s, f := loginContext(t, nil)
	if err := (PasswordHash{User: "root", Hash: secret.New("$6$salt$hash")}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if f.Transcript[0] != "chpasswd --encrypted" || f.Stdin[0] != "root:$6$salt$hash\n" {
		t.Errorf("ran %q with %q", f.Transcript, f.Stdin)
	}
}

func TestTimeZoneOfTheSystem(t *testing.T) {
	t.Parallel()
	s, f := loginContext(t, map[string]string{"/usr/share/zoneinfo/Europe/Berlin": "TZif", "/etc/localtime": "UTC"})
	if err := (Timezone{Name: "Europe/Berlin"}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(f.Path("/etc/localtime")); err != nil || link != "/usr/share/zoneinfo/Europe/Berlin" {
		t.Errorf("localtime is %q (%v)", link, err)
	}
	if text, err := f.ReadFile("/etc/timezone"); err != nil || string(text) != "Europe/Berlin\n" {
		t.Errorf("timezone is %q (%v)", text, err)
	}
	for _, name := range []string{"Europe/Berlni", "Europe"} {
		if err := (Timezone{Name: name}).Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no time zone") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLocaleIsCompiledOnce(t *testing.T) {
	t.Parallel()
	s, f := loginContext(t, map[string]string{"/usr/share/i18n/SUPPORTED": "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\n",
		"/etc/locale.gen": "# de_DE.UTF-8 UTF-8\n"})
	for range 2 {
		if err := (Locale{Name: "de_DE.UTF-8"}).Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	text, err := f.ReadFile("/etc/locale.gen")
	if err != nil || string(text) != "# de_DE.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n" {
		t.Errorf("locale.gen is %q (%v)", text, err)
	}
	if got := strings.Join(f.Transcript[:2], ";"); got != "locale-gen;update-locale LANG=de_DE.UTF-8" {
		t.Errorf("ran %s", got)
	}
	if err := (Locale{Name: "de_XX.UTF-8"}).Run(t.Context(), s); err == nil ||
		!strings.Contains(err.Error(), `no locale "de_XX.UTF-8"`) {
		t.Errorf("got %v", err)
	}
	f.Transcript = nil
	if err := (Locale{Name: "C.UTF-8"}).Run(t.Context(), s); err != nil || len(f.Transcript) != 1 {
		t.Errorf("C.UTF-8: %v, ran %q", err, f.Transcript)
	}
}

func TestKeymapOfTheSystem(t *testing.T) {
	t.Parallel()
	s, f := loginContext(t, map[string]string{"/usr/share/X11/xkb/symbols/de": "", "/usr/share/X11/xkb/symbols/us": ""})
	if err := (Keymap{Layout: "de,us", Variant: "nodeadkeys,"}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	text, err := f.ReadFile("/etc/default/keyboard")
	if err != nil || !strings.Contains(string(text), "XKBLAYOUT=\"de,us\"\nXKBVARIANT=\"nodeadkeys,\"\n") {
		t.Errorf("keyboard is %q (%v)", text, err)
	}
	if got := strings.Join(f.Transcript, ";"); got != "setupcon --save-only" {
		t.Errorf("ran %s", got)
	}
	if err := (Keymap{Layout: "xx"}).Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), `layout "xx"`) {
		t.Errorf("got %v", err)
	}
}

// Issue 19, 5: cloud-init of the image judges its configuration before a machine boots with it.
func TestCloudInitHasItsSeed(t *testing.T) {
	t.Parallel()
	s, f := loginContext(t, map[string]string{"/etc/cloud/cloud.cfg.d/": ""})
	user, network := filepath.Join(t.TempDir(), "user"), filepath.Join(t.TempDir(), "network")
	for name, text := range map[string]string{user: "#cloud-config\npackages: [less]\n", network: "version: 2\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := CloudInit{Datasources: []string{"NoCloud", "None"}, Seed: []SeedFile{
		{Name: "meta-data", Text: "instance-id: a\n"},
		{Name: "user-data", File: user, Schema: "cloud-config"},
		{Name: "network-config", File: network, Schema: "network-config"}}}
	if err := c.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		seedDir + "meta-data": "instance-id: a\n", seedDir + "user-data": "#cloud-config\npackages: [less]\n",
		seedDir + "network-config": "version: 2\n",
	} {
		text, err := f.ReadFile(name)
		info, statErr := f.Lstat(name)
		if err != nil || statErr != nil || string(text) != want || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %q (%v, %v)", name, text, err, statErr)
		}
	}
	text, err := f.ReadFile("/etc/cloud/cloud.cfg.d/95-datasources.cfg")
	if err != nil || !strings.HasSuffix(string(text), "\ndatasource_list: [ NoCloud, None ]\n") {
		t.Errorf("datasources are %q (%v)", text, err)
	}
	if got, want := strings.Join(f.Transcript, "\n"), "cloud-init schema --config-file "+seedDir+"user-data\n"+
		"cloud-init schema --config-file "+seedDir+"network-config --schema-type network-config"; got != want {
		t.Errorf("ran\n%s\nwant\n%s", got, want)
	}
	f.On = func([]string, io.Writer) error { return errors.New("exit status 1") }
	if err := c.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "check user-data by its schema") {
		t.Errorf("got %v", err)
	}
}
