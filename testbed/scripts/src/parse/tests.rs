use super::parse;
use crate::script::{Event, Num, Opt, Packet, Sum};
use stack::time::Duration;

const SCENE: &str =
    "box hag\nflow client 10.1.0.2:40000 > 10.9.0.2:80 at access1 isn 7 keys KA KB\n";

/// What a script of one `line` behind the scene says is wrong.
fn error(line: &str) -> String {
    let script = format!("{SCENE}{line}\n9 end\n");
    parse(&script)
        .expect_err("a line that is wrong")
        .to_string()
}

#[test]
fn a_line_says_who_when_and_what() {
    let script = format!(
        "# of comments nothing is read\n{SCENE}\n+0.5~+0.75 client < P. 1:11(10) ack 1 win 8 <dss ack 1 dsn 1 ssn 1 len 10 csum, ...>\n9 end"
    );
    let script = parse(&script).expect("a right script");
    assert_eq!((script.flows[0].isn, script.lines[0].number), (7, 5));
    let line = &script.lines[0];
    assert!(line.at.relative);
    assert_eq!(line.at.first, Duration::from_millis(500));
    assert_eq!(line.at.last, Duration::from_millis(750));
    let Event::Gets(0, Packet::Segment(segment)) = &line.event else {
        panic!("{:?}", line.event);
    };
    assert_eq!(
        (segment.seq, segment.len, segment.ack, segment.wnd),
        (1, 10, Some(1), Some(8))
    );
    let options = segment.options.as_ref().expect("options");
    assert!(options.others);
    let Opt::Dss { map: Some(map), .. } = &options.list[0] else {
        panic!("{options:?}");
    };
    assert_eq!((map.ssn, map.len, map.sum), (1, 10, Sum::Right));
}

#[test]
fn what_is_open_is_a_star() {
    let script = format!("{SCENE}0 client > S 0:0(0) <TS 5 *>\n9 end");
    let script = parse(&script).expect("a right script");
    let Event::Sends(0, Packet::Segment(segment)) = &script.lines[0].event else {
        panic!("{:?}", script.lines[0].event);
    };
    let options = segment.options.as_ref().expect("options");
    assert_eq!(options.list, [Opt::Ts(Num::Is(5), Num::Any)]);
}

/// Each error names its line, shows where reading stopped, and says what would have been right there.
#[test]
fn errors_tell_the_line_the_place_and_what_was_expected() {
    let table = [
        ("0 server > S 0:0(0)", "         ^", "the name of a flow"),
        ("0 client S 0:0(0)", "         ^", "`>` for what it sends"),
        (
            "0 client > X 0:0(0)",
            "           ^",
            "the flags of a segment",
        ),
        (
            "0 client > . 1:1(0)",
            "                   ^",
            "`ack` and a number",
        ),
        ("0 client > S 0:9(8)", "", "how many octets that is"),
        ("0 client > S 0:0(0) <mss 1460, wat>", "", "an option: mss"),
        (
            "0 client > S 0:0(0) <mpcapable 1>",
            "",
            "a version, as in v1",
        ),
        (
            "0 client > S 0:0(0) <mpjoin ack hmac KA KB R1>",
            "",
            "two keys and two random numbers",
        ),
        ("0 client > icmp frog", "", "`too-big`"),
        ("0~1 client > S 0:0(0)", "", "only what is expected"),
        ("0 client > S 0:0(0) wnd 1", "                    ^", ""),
        ("key KA 1234567890abcdef0", "", "hexadecimal digits"),
        ("set frog 1", "", "`tolerance-ms`"),
        (
            "flow other 10.1.0.2 > 10.9.0.2:80 at core",
            "",
            "an address and a port",
        ),
        (
            "flow client 10.1.0.2:1 > 10.9.0.2:80 at core",
            "",
            "a flow client already",
        ),
    ];
    for (line, mark, expected) in table {
        let told = error(line);
        assert!(told.starts_with("line 3: "), "{line}: {told}");
        assert!(
            told.contains(&format!("\n{mark}")) || mark.is_empty(),
            "{line}: {told}"
        );
        assert!(told.contains(expected), "{line}: {told}");
    }
}

#[test]
fn a_script_ends_by_saying_so_and_its_scene_comes_first() {
    let no_end = parse(SCENE).expect_err("no end").to_string();
    assert!(no_end.contains("no `end`"), "{no_end}");
    let late = parse("0 end\nbox hag\n1 end")
        .expect_err("a late scene")
        .to_string();
    assert!(late.starts_with("line 2: "), "{late}");
}
