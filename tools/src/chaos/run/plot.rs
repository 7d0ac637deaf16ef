//! The timeline as a picture.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::timeline::{Bucket, Happened, Timeline};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed = DrawingAreaErrorKind<std::io::Error>;

/// What one of the charts shows.
struct Shown<'a> {
    title: &'a str,
    color: RGBColor,
    value: &'a dyn Fn(&Bucket) -> f64,
}

const NAMES: u32 = 170;
const CHART: u32 = 200;
const LEFT: u32 = 60;
const MARGIN: u32 = 8;
/// Wide enough for a fault's name.
const WIDTH_A_FAULT: u32 = 24;
/// Between two names, so that they can be read.
const NAME_WIDTH: f64 = 13.0;
const GRAY: RGBColor = RGBColor(120, 120, 120);
const ORANGE: RGBColor = RGBColor(240, 150, 30);

/// Writes an SVG: the names of the faults, and below them acknowledged sends a second, the slowest send, and how many partitions
/// stood still. A fault is gray while it lasts, and orange from its heal until all was back; red if it never was.
pub(super) fn draw(timeline: &Timeline, path: &Path) -> Result<(), String> {
    let faults = u32::try_from(timeline.faults.len()).unwrap_or(u32::MAX);
    let width = faults.saturating_mul(WIDTH_A_FAULT).clamp(1200, 8000);
    let area = SVGBackend::new(path, (width, NAMES + 3 * CHART)).into_drawing_area();
    let drawn = all(timeline, &area, width).and_then(|()| area.present());
    drawn.map_err(|error| format!("{}: {error}", path.display()))
}

fn all(timeline: &Timeline, area: &Area<'_>, width: u32) -> Result<(), Failed> {
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(NAMES);
    names(timeline, &above, width)?;
    let a_second = 1000.0 / timeline.bucket_ms as f64;
    let shown = [
        Shown {
            title: "sends acknowledged a second",
            color: BLUE,
            value: &|bucket| f64::from(bucket.acknowledged) * a_second,
        },
        Shown {
            title: "slowest send acknowledged then, in seconds",
            color: RED,
            value: &|bucket| bucket.slowest_ms as f64 / 1000.0,
        },
        Shown {
            title: "partitions with a send under way for more than a second",
            color: BLACK,
            value: &|bucket| f64::from(bucket.stalled),
        },
    ];
    for (area, shown) in below.split_evenly((shown.len(), 1)).iter().zip(&shown) {
        chart(timeline, area, shown)?;
    }
    Ok(())
}

fn end(timeline: &Timeline) -> f64 {
    let buckets = timeline.buckets.len() as f64 * timeline.bucket_ms as f64 / 1000.0;
    let faults = timeline.faults.iter().map(|fault| back(fault) as f64 / 1000.0);
    faults.fold(buckets.max(1.0), f64::max)
}

/// When all was back, or when it was healed.
fn back(fault: &Happened) -> u64 {
    fault.healed_ms + fault.back_after_ms.unwrap_or(0)
}

/// The title, and each fault's name where it begins, or a little later where another's stands.
fn names(timeline: &Timeline, area: &Area<'_>, width: u32) -> Result<(), Failed> {
    let Timeline { target, nodes, seed, .. } = timeline;
    let title = format!("{target}, {nodes} nodes, seed {seed}");
    area.draw(&Text::new(title, (LEFT as i32, MARGIN as i32), ("sans-serif", 20)))?;
    let legend = "gray: a fault; orange: healed, and not all back; red: never back";
    area.draw(&Text::new(legend, (LEFT as i32 + 300, MARGIN as i32 + 4), ("sans-serif", 13).into_font().color(&GRAY)))?;
    let scale = f64::from(width - LEFT - 2 * MARGIN) / end(timeline);
    let mut free = 0.0_f64;
    for fault in &timeline.faults {
        let at = f64::from(LEFT + MARGIN) + fault.began_ms as f64 / 1000.0 * scale;
        let x = at.max(free);
        free = x + NAME_WIDTH;
        let who: Vec<String> = fault.nodes.iter().map(ToString::to_string).collect();
        let style = ("sans-serif", 13).into_font().transform(FontTransform::Rotate270).color(&color_of(fault));
        let bottom = NAMES as i32 - 2;
        area.draw(&Text::new(format!("{} {}", fault.kind, who.join(",")), (x as i32, bottom), style))?;
    }
    Ok(())
}

fn chart(timeline: &Timeline, area: &Area<'_>, shown: &Shown<'_>) -> Result<(), Failed> {
    let seconds = |at: usize| at as f64 * timeline.bucket_ms as f64 / 1000.0;
    let highest = timeline.buckets.iter().map(shown.value).fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .caption(shown.title, ("sans-serif", 14))
        .margin_left(MARGIN)
        .margin_right(MARGIN)
        .x_label_area_size(20)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(0.0..end(timeline), 0.0..highest)?;
    let band = |from: u64, to: u64, color: RGBColor| {
        let (from, to) = (from as f64 / 1000.0, to as f64 / 1000.0);
        Rectangle::new([(from, 0.0), (to.max(from + 0.1), highest)], color.mix(0.25).filled())
    };
    chart.draw_series(timeline.faults.iter().map(|fault| band(fault.began_ms, fault.healed_ms, color_of(fault))))?;
    let late = timeline.faults.iter().filter(|fault| fault.back_after_ms.is_some_and(|ms| ms > 0));
    chart.draw_series(late.map(|fault| band(fault.healed_ms, back(fault), ORANGE)))?;
    let clock = |at: &f64| format!("{}:{:02}", (*at as u64) / 60, (*at as u64) % 60);
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).x_labels(20).y_labels(5).x_label_formatter(&clock);
    mesh.y_label_formatter(&|value| format!("{value:.0}")).draw()?;
    let points = timeline.buckets.iter().enumerate().map(|(at, bucket)| (seconds(at), (shown.value)(bucket)));
    chart.draw_series(LineSeries::new(points, shown.color))?;
    Ok(())
}

fn color_of(fault: &Happened) -> RGBColor {
    match fault.back_after_ms {
        Some(_) => GRAY,
        None => RED,
    }
}
