//! Every model holds, and each fails if an essential part of the protocol is left out.

use model::blocked::{self, LastLook};
use model::{check, check_without_fences, closed, join, wake};

#[test]
fn a_joiner_misses_nothing_of_two_publishers() {
    check(join::two_publishers);
}

#[test]
fn a_joiner_that_left_before_misses_nothing() {
    check(join::leave_and_rejoin);
}

#[test]
#[should_panic(expected = "was missed")]
fn without_fences_a_joiner_misses_frames() {
    check_without_fences(join::two_publishers);
}

#[test]
#[should_panic(expected = "was missed")]
fn without_fences_a_joiner_that_left_before_misses_frames() {
    check_without_fences(join::leave_and_rejoin);
}

#[test]
fn a_sleeping_receiver_is_woken_once() {
    check(wake::two_senders);
}

#[test]
fn a_receiver_that_is_awake_is_not_woken() {
    check(wake::awake);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_fences_a_wake_is_lost() {
    check_without_fences(wake::two_senders);
}

#[test]
fn a_blocked_sender_is_woken_when_there_is_room() {
    check(|| blocked::full_mailbox(&[2, 2, 2], LastLook::Flag));
}

#[test]
fn a_blocked_sender_is_woken_when_its_large_mail_fits() {
    check(|| blocked::full_mailbox(&[1, 1, 2], LastLook::Flag));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_fences_a_blocked_sender_sleeps_for_good() {
    check_without_fences(|| blocked::full_mailbox(&[2, 2], LastLook::Flag));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_blocked_sender_without_a_last_look_sleeps_for_ever() {
    check(|| blocked::full_mailbox(&[2, 2, 2], LastLook::Nothing));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_blocked_sender_that_only_checks_room_sleeps_for_ever() {
    check(|| blocked::full_mailbox(&[1, 1, 2], LastLook::Room));
}

#[test]
fn mail_to_a_participant_that_is_gone_is_discarded() {
    check(closed::two_senders);
}

#[test]
fn a_blocked_sender_is_woken_by_a_participant_that_goes() {
    check(closed::blocked_sender);
}

#[test]
#[should_panic(expected = "mail is kept")]
fn without_fences_mail_to_a_participant_that_is_gone_is_kept() {
    check_without_fences(closed::two_senders);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_fences_a_sender_waits_for_a_participant_that_is_gone() {
    check_without_fences(closed::blocked_sender);
}
