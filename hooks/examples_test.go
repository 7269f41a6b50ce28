// SPDX-License-Identifier: Apache-2.0

package hooks_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// contrib is the directory of examples and of scripts for continuous integration.
const contrib = "../contrib"

// scripts lists the shell scripts of contrib, by their first line.
func scripts(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*", "ci/*", "examples/*"} {
		found, err := filepath.Glob(filepath.Join(contrib, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err == nil && bytes.HasPrefix(text, []byte("#!/bin/sh\n")) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("no scripts found")
	}
	return names
}

func TestScriptsAreExecutableAndSayWhatTheyDo(t *testing.T) {
	t.Parallel()
	for _, name := range scripts(t) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 != 0o111 {
			t.Errorf("%s is not executable", name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(text), "\n"); !strings.HasPrefix(rest, "# ") {
			t.Errorf("%s does not begin with a comment", name)
		}
		diskimagetest.Run(t, "dash", "-n", name)
	}
	examples, err := filepath.Glob(filepath.Join(contrib, "examples/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range examples {
		if text, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(text, []byte("#!/bin/sh\n")) {
			t.Errorf("%s is not a script: %v", name, err)
		}
	}
}

func TestShellcheckFindsNothingInTheExamples(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob(filepath.Join(contrib, "examples/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range examples {
		examples[i] = strings.TrimPrefix(examples[i], "../")
	}
	cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "shellcheck"),
		append([]string{"--external-sources"}, examples...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hook runs an example hook on the root directory of a world, whose chroot is a fake. The library is the real one.
func (w *world) hook(name string, env ...string) (output string, err error) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(contrib, "examples", name))
	if err != nil {
		w.t.Fatal(err)
	}
	script := filepath.Join(w.dir, name)
	w.write(script, strings.ReplaceAll(string(text), customiseLine, ". '"+w.lib+"'"))
	lib, err := os.ReadFile(filepath.Join(contrib, "examples/u-boot.lib"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(w.dir, "u-boot.lib"), string(lib))
	// Executing a file that was written a moment ago fails (ETXTBSY) while a child of another test has it open as well.
	cmd := exec.CommandContext(w.t.Context(), "sh", script, w.root, "image")
	cmd.Dir = w.dir
	cmd.Env = append([]string{"PATH=" + w.bin + ":" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// customiseLine is the line by which hooks source the library. The file exists only while they run in a build.
const customiseLine = ". /usr/share/vmdebootstrap/common/customise.lib"

func TestBoardHooksNameTheConsole(t *testing.T) {
	t.Parallel()
	for board, want := range map[string]struct{ console, modules string }{
		"beagleboneblack": {"ttyS0,115200n8", ""},
		"cubietruck":      {"ttyS0,115200n8", "phy-sun4i-usb\nohci-platform\n"},
		"wandboard":       {"ttymxc0,115200n8", "ahci_platform\nahci_imx\nsd_mod\n"},
	} {
		w := newWorld(t)
		if out, err := w.hook(board + "-customise.sh"); err != nil || out != "" {
			t.Errorf("%s: %v\n%s", board, err, out)
			continue
		}
		files := w.tree(".")
		// The step of --boot=u-boot takes the arguments of the menu from there.
		if files["etc/kernel/cmdline"] != "console="+want.console+"\n" ||
			files["etc/initramfs-tools/modules"] != want.modules {
			t.Errorf("%s: got %q", board, files)
		}
	}
}

func TestAutologinIsForAUserOfTheImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(filepath.Join(w.root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\ntester:x:1000:1000::/:/bin/sh\n")
	if out, err := w.hook("serial-autologin.sh", "AUTOLOGIN=test"); err == nil ||
		!strings.Contains(out, "no user test in the image") {
		t.Errorf("unknown user: got %v\n%s", err, out)
	}
	for _, user := range []string{"root", "tester"} {
		if out, err := w.hook("serial-autologin.sh", "AUTOLOGIN="+user); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := w.tree("etc/systemd")["etc/systemd/system/serial-getty@.service.d/autologin.conf"]
		if !strings.Contains(got, "\nExecStart=\nExecStart=-/sbin/agetty --autologin "+user+" ") ||
			!strings.HasSuffix(got, " %I $TERM\n") {
			t.Errorf("%s: got %q", user, got)
		}
	}
}

func TestDesktopIsInstalledWithoutDaemons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake("chroot", `[ "$2" != apt-get ] || [ "$4" != -y ] || [ -x "$1/usr/sbin/policy-rc.d" ]`)
	if out, err := w.hook("desktop.sh", "DESKTOP=mate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(w.transcript)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "install task-mate-desktop task-laptop task-english dkms locales ") {
		t.Errorf("got\n%s", log)
	}
	if got := w.tree("."); len(got) != 1 || got["etc/modprobe.d/qemu-blacklist.conf"] == "" {
		t.Errorf("left behind: %q", got)
	}
}

func TestUserSetupGivesKeysOrAPasswordToChoose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ env, want string }{
		{"AUTHORIZED_KEYS=",
			"useradd --create-home --shell /bin/bash alice;passwd --delete alice;chage --lastday 0 alice;"},
		{"AUTHORIZED_KEYS=alice.pub", "useradd --create-home --shell /bin/bash alice;sh -c umask 077 "},
	} {
		w.write(filepath.Join(w.dir, "alice.pub"), "ssh-ed25519 AAAA alice\n")
		if err := os.Remove(w.transcript); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if out, err := w.hook("user-setup.sh", "NEW_USER=alice", c.env); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		log, err := os.ReadFile(w.transcript)
		if err != nil {
			t.Fatal(err)
		}
		commands := strings.ReplaceAll(strings.ReplaceAll(string(log), "chroot "+w.root+" ", ""), "\n", ";")
		if !strings.HasPrefix(commands, c.want) {
			t.Errorf("%s: got %q, want %q", c.env, commands, c.want)
		}
	}
	if out, err := w.hook("user-setup.sh", "AUTHORIZED_KEYS=none.pub"); err == nil ||
		!strings.Contains(out, "none.pub cannot be read") {
		t.Errorf("missing keys: got %v\n%s", err, out)
	}
}

// TestBoardWrappersPutUBootWhereTheROMLooks checks the options that the wrappers pass to the program.
func TestBoardWrappersPutUBootWhereTheROMLooks(t *testing.T) {
	t.Parallel()
	wrappers, err := filepath.Abs(filepath.Join(contrib, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for board, blobs := range map[string][]string{
		"beagleboneblack": {"am335x_boneblack/MLO@128KiB", "am335x_boneblack/u-boot.img@384KiB"},
		"cubietruck":      {"Cubietruck/u-boot-sunxi-with-spl.bin@8KiB"},
		"wandboard":       {"wandboard/SPL@1KiB", "wandboard/u-boot.img@69KiB"},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(wrappers, board+".sh"), "--size", "5G")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "VMDEBOOTSTRAP=echo", "IMAGE=my card.img"}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", board, err)
		}
		for _, blob := range blobs {
			if want := " --raw rootfs:/usr/lib/u-boot/" + blob + " "; !strings.Contains(string(out), want) {
				t.Errorf("%s: no%sin %s", board, want, out)
			}
		}
		if !strings.Contains(string(out), "--image my card.img ") || !strings.HasSuffix(string(out), " --size 5G\n") {
			t.Errorf("%s: arguments %s", board, out)
		}
	}
}
