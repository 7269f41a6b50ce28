// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestDiagnoseNamesCauseAndFix(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../contrib/doc/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		try         Attempt
		err         error
		facts       Facts
		cause, cure string // parts of them
	}{
		{"root of a container", TryClone, unix.EPERM, Facts{root: true}, "CAP_SYS_ADMIN is missing", "--privileged"},
		{"root of a container, later", tryMount, unix.EACCES, Facts{root: true, appArmorRestricts: true},
			"CAP_SYS_ADMIN is missing", "--privileged"},
		{"switched off", TryClone, unix.ENOSPC, Facts{noneAllowed: true}, "user.max_user_namespaces is 0",
			"sysctl -w user.max_user_namespaces="},
		{"used up", TryClone, unix.ENOSPC, Facts{}, "the limit of user namespaces is reached",
			"sysctl -w user.max_user_namespaces="},
		{"old Debian", TryClone, unix.EPERM, Facts{cloneForbidden: true}, "kernel.unprivileged_userns_clone is 0",
			"sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Ubuntu", tryMount, unix.EACCES, Facts{appArmorRestricts: true, executable: "/opt/vmdebootstrap"}, "AppArmor",
			"/opt/vmdebootstrap doctor --apparmor-profile > /etc/apparmor.d/vmdebootstrap && apparmor_parser -r /etc/apparmor.d/vmdebootstrap"},
		{"Ubuntu, a path with a space", tryMount, unix.EPERM, Facts{appArmorRestricts: true,
			executable: "/opt/my tools/it's"}, "AppArmor", `'/opt/my tools/it'\''s' doctor`},
		{"no mknod", tryDevices, unix.EPERM, Facts{root: true}, "CAP_MKNOD is missing", "CAP_MKNOD"},
		{"nodev", tryDeviceUse, unix.EACCES, Facts{root: true}, "nodev", "--state-dir"},
		{"no setcap", tryOwners, unix.EPERM, Facts{root: true}, "capabilities", "default capabilities"},
		{"no chroot", tryRoot, unix.EPERM, Facts{root: true}, "CAP_SYS_CHROOT is missing", "CAP_SYS_CHROOT"},
		{"an old kernel", trySupervise, unix.EINVAL, Facts{root: true}, "Linux 5.19", "newer kernel"},
		{"rename across", tryMove, unix.EXDEV, Facts{root: true}, "renamed", "--state-dir"},
		{"full", tryState, unix.ENOSPC, Facts{root: true}, "state directory", "--state-dir"},
		{"seccomp", TryClone, unix.EPERM, Facts{}, "forbids user namespaces", "--privileged"},
		{"kernel without", TryClone, unix.EINVAL, Facts{}, "this kernel has no user namespaces", "CONFIG_USER_NS"},
		{"no newuidmap", tryIDMap, fmt.Errorf("look: %w", exec.ErrNotFound), Facts{}, "not installed",
			"apt install uidmap"},
		{"no_new_privs", tryIDMap, errors.New("exit status 1"), Facts{noNewPrivs: true}, "no_new_privs",
			"login session"},
		{"newuidmap refuses", tryIDMap, errors.New("exit status 1"), Facts{user: "alice"},
			"of alice could not be mapped", "--reinstall uidmap"},
		{"anything else", tryStartSelf, unix.ENOMEM, Facts{}, "no container can be made here", "another machine"},
	} {
		got := Diagnose(tt.try, tt.err, tt.facts)
		if !strings.Contains(got.Cause, tt.cause) || !strings.Contains(got.Fix, tt.cure) {
			t.Errorf("%s: got %q, %q", tt.name, got.Cause, got.Fix)
		}
		if !errors.Is(got, tt.err) {
			t.Errorf("%s: the error is lost", tt.name)
		}
		documented := got.Cause
		if tt.try == tryStartSelf { // what was tried is in parentheses
			documented, _, _ = strings.Cut(got.Cause, " (")
		}
		if !strings.Contains(string(page), "\nERROR: "+documented+"\n") {
			t.Errorf("troubleshooting.md has no %q", documented)
		}
	}
}

func TestFactsAreTheKernelsSettings(t *testing.T) {
	t.Parallel()
	setting := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	ubuntu := factsFrom(fstest.MapFS{
		"kernel/apparmor_restrict_unprivileged_userns": setting("1"), "kernel/unprivileged_userns_clone": setting("1"),
		"user/max_user_namespaces": setting("62000"),
	}, "alice")
	if !ubuntu.appArmorRestricts || ubuntu.cloneForbidden || ubuntu.noneAllowed || ubuntu.user != "alice" {
		t.Errorf("Ubuntu: got %+v", ubuntu)
	}
	hardened := factsFrom(fstest.MapFS{
		"kernel/apparmor_restrict_unprivileged_userns": setting("0"), "kernel/unprivileged_userns_clone": setting("0"),
		"user/max_user_namespaces": setting("0"),
	}, "alice")
	if hardened.appArmorRestricts || !hardened.cloneForbidden || !hardened.noneAllowed {
		t.Errorf("hardened: got %+v", hardened)
	}
}

func TestNoRangeSaysHowMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		have uint64
		want string
	}{
		{0, "the user alice has no subordinate ids in /etc/subgid"},
		{1000, "the user alice has only 1000 subordinate ids in /etc/subgid, and Debian needs 65534"},
	} {
		if got := noRange("alice", "/etc/subgid", tt.have).Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
