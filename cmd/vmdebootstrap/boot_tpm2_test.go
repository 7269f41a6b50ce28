// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestTPMUnlocks boots an encrypted image three times. At the first boot the passphrase is typed, and the TPM enrolled.
// With that TPM, nothing is typed at the second boot; with another one, the passphrase is.
func TestTPMUnlocks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(secret, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	image := buildImage(t, slowMachine, "--luks", "--luks-passphrase", secret, "--luks-tpm2", "--boot", "systemd-boot",
		"--part-type", "gpt", "--hostname", "machine")
	const device = "device=$(cryptsetup status root_crypt | awk '/device:/ {print $2}'); "
	const enrolled = `cryptsetup luksDump $device | sed -n 's/^  \([0-9]: [a-z0-9]*\)$/has \1/p'; ` +
		"ls /etc/enrol-tpm2.key; "
	// The slots of the passphrase and of clevis, without that of the enrolment between them.
	const only = `has 0: luks2\s+has 2: luks2\s+has 0: clevis\s+has 0: pbkdf2\s+ls: cannot access .*/etc/enrol-tpm2.key`
	own, other := t.TempDir(), t.TempDir()
	for _, boot := range []struct {
		name, state, passphrase, script string
		want                            []string
	}{
		// The command waits for the service if it is still running.
		{"first", own, "geheim\n", "systemctl start enrol-tpm2.service; echo enrolled $?; " + enrolled,
			[]string{"enrolled 0", only}},
		{"same TPM", own, "", "clevis luks pass -d $device -s 2 > /dev/null; echo unsealed $?; " + enrolled,
			[]string{"unsealed 0", only}},
		{"other TPM", other, "geheim\n", "clevis luks pass -d $device -s 2 > /dev/null; echo unsealed $?; " + enrolled,
			[]string{"unsealed [1-9]", only}},
	} {
		t.Run(boot.name, func(t *testing.T) {
			console := diskimagetest.Boot(t, image, diskimagetest.BootOptions{
				Firmware: diskimagetest.UEFI, Keep: true, Memory: 2048, Timeout: 20 * time.Minute,
				Args: diskimagetest.TPM(t, boot.state), Want: "Power down|System halted",
				Session: []diskimagetest.Exchange{
					{Want: unlockPrompt, Send: boot.passphrase}, {Want: "login: ", Send: "root\n"},
					{Want: "root@machine:~# ", Send: "export PAGER=cat; " + device + boot.script +
						"tpm2_pcrread sha256:7; echo failed $(systemctl --failed --no-legend | wc -l); poweroff\n"},
				},
			})
			// PCR 7 is zero if the firmware does not know the TPM.
			wantOnConsole(t, console, append(boot.want, "7 : 0x.*[1-9A-F]", "failed 0")...)
		})
	}
}
